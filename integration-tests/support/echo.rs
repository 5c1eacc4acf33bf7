//! A fast upstream that is told how to misbehave: it speaks enough MLflow for look-ups, and tells what reached it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the header `x-play` of a request asks for:
/// `big=BYTES` an answer of so many bytes; `sse` two events, the second when [`Echo::release`] was called; `hang` no answer
/// until the client leaves; `cut=LENGTH` half an answer; `early` an answer before the body; `redirect=URL`; `hop` headers that stay on
/// their hop; anything else: the request as JSON.
pub struct Echo {
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Requests that `hang` saw begin and saw their client leave.
    hanging: AtomicUsize,
    left: AtomicUsize,
    /// Uploads that began, and those that broke off.
    begun: AtomicUsize,
    broken: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    released: Mutex<bool>,
    release: Condvar,
}

impl Echo {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(stream) = stream.try_clone() {
                    shared.open.lock().unwrap().push(stream);
                }
                let state = shared.clone();
                std::thread::spawn(move || {
                    let clone = stream.try_clone();
                    let _ = serve(stream, &state);
                    // Another copy of it waits for `stop`, and would keep it open.
                    let _ = clone.map(|stream| stream.shutdown(std::net::Shutdown::Both));
                });
            }
        });
        Self { url, state }
    }

    pub fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::SeqCst)
    }

    pub fn left(&self) -> usize {
        self.state.left.load(Ordering::SeqCst)
    }

    pub fn begun(&self) -> usize {
        self.state.begun.load(Ordering::SeqCst)
    }

    pub fn broken(&self) -> usize {
        self.state.broken.load(Ordering::SeqCst)
    }

    /// Nobody listens any more, and what was open is closed.
    pub fn stop(self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn release(&self) {
        *self.state.released.lock().unwrap() = true;
        self.state.release.notify_all();
    }
}

struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(head) = read_head(&mut reader)? {
        if head.method == "PUT" {
            state.begun.fetch_add(1, Ordering::SeqCst);
        }
        let play = head.header("x-play").unwrap_or_default().to_owned();
        if play == "early" {
            writer.write_all(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 5\r\n\r\nlarge")?;
            return Ok(());
        }
        let received = match read_body(&head, &mut reader) {
            Ok(received) => received,
            Err(error) => {
                state.broken.fetch_add(1, Ordering::SeqCst);
                return Err(error);
            }
        };
        answer(&head, &play, &received, &mut reader, &mut writer, state)?;
    }
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut head = Head {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(Some(head));
        };
        head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// What came: bytes, and how many.
struct Received {
    start: Vec<u8>,
    length: u64,
}

fn read_body(head: &Head, reader: &mut impl BufRead) -> std::io::Result<Received> {
    let mut received = Received {
        start: Vec::new(),
        length: 0,
    };
    let mut take = |reader: &mut dyn BufRead, length: u64| -> std::io::Result<()> {
        let mut part = reader.take(length);
        let mut buffer = [0; 64 * 1024];
        let mut left = length;
        while left > 0 {
            let count = part.read(&mut buffer)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
            received.length += count as u64;
            if received.start.len() < 4096 {
                received.start.extend_from_slice(&buffer[..count.min(4096)]);
            }
        }
        Ok(())
    };
    if let Some(length) = head.header("content-length") {
        take(reader, length.parse().unwrap())?;
    } else if head.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let length = u64::from_str_radix(line.trim(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
            take(reader, length)?;
            let mut end = String::new();
            reader.read_line(&mut end)?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(received)
}

fn answer(
    head: &Head,
    play: &str,
    received: &Received,
    reader: &mut impl Read,
    writer: &mut impl Write,
    state: &State,
) -> std::io::Result<()> {
    let (play, value) = play.split_once('=').unwrap_or((play, ""));
    match play {
        "big" => {
            let length: usize = value.parse().unwrap();
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            let block = [b'x'; 64 * 1024];
            let mut left = if head.method == "HEAD" { 0 } else { length };
            while left > 0 {
                let count = left.min(block.len());
                writer.write_all(&block[..count])?;
                left -= count;
            }
            Ok(())
        }
        "sse" => {
            writer.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nd\r\ndata: first\n\n\r\n",
            )?;
            let released = state.released.lock().unwrap();
            let _ = state.release.wait_timeout_while(released, Duration::from_secs(20), |released| !*released).unwrap();
            writer.write_all(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")
        }
        "hang" => {
            state.hanging.fetch_add(1, Ordering::SeqCst);
            let mut byte = [0];
            let _ = reader.read(&mut byte);
            state.left.fetch_add(1, Ordering::SeqCst);
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        "cut" => {
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\nhalf")?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        "redirect" => write!(writer, "HTTP/1.1 308 Permanent Redirect\r\nlocation: {value}\r\ncontent-length: 0\r\n\r\n"),
        "hop" => writer.write_all(
            b"HTTP/1.1 200 OK\r\nconnection: x-probe\r\nx-probe: 1\r\nkeep-alive: timeout=5\r\nserver: uvicorn\r\n\
              x-frame-options: SAMEORIGIN\r\nset-cookie: mlgate=evil\r\nset-cookie: theme=dark\r\ncontent-length: 2\r\n\r\nok",
        ),
        _ => {
            let body = speak(head, received);
            let status = if head.header("range").is_some() { "206 Partial Content" } else { "200 OK" };
            write!(
                writer,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )?;
            if head.method == "HEAD" { Ok(()) } else { writer.write_all(body.as_bytes()) }
        }
    }
}

/// MLflow's words where a look-up asks, else the request as it came.
fn speak(head: &Head, received: &Received) -> String {
    let path = head.target.split('?').next().unwrap_or_default();
    if path == "/version" {
        return "3.18.0".to_owned();
    }
    if head.header("x-forwarded-for").is_none() && path.ends_with("/mlflow/experiments/get") {
        return serde_json::json!({"experiment": {
            "experiment_id": "1", "name": "a/one", "lifecycle_stage": "active", "artifact_location": "mlflow-artifacts:/1",
        }})
        .to_string();
    }
    serde_json::json!({
        "method": head.method, "target": head.target, "headers": head.headers,
        "length": received.length, "start": String::from_utf8_lossy(&received.start),
    })
    .to_string()
}
