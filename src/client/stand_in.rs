//! A gateway for the tests here that says what it is told to; the real one answers in `integration-tests/terminal.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::GatewayUrl;

type Form = HashMap<String, String>;

#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    asked: HashMap<String, Vec<Form>>,
}

pub(super) struct StandIn {
    url: GatewayUrl,
    script: Arc<Mutex<Script>>,
}

impl StandIn {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = GatewayUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let at = |path: &str| url.at(path);
        let metadata = json!({
            "issuer": url.to_string(),
            "authorization_endpoint": at("/auth/oauth2/authorize"),
            "token_endpoint": at("/auth/oauth2/token"),
            "device_authorization_endpoint": at("/auth/oauth2/device_authorization"),
            "revocation_endpoint": at("/auth/oauth2/revoke"),
            "authorization_response_iss_parameter_supported": true,
        });
        let known = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&known), metadata.clone()));
            }
        });
        Self { url, script }
    }

    pub(super) fn url(&self) -> GatewayUrl {
        self.url.clone()
    }

    /// The next answer for a path; the last one stays.
    pub(super) fn answer(&self, path: &str, status: u16, body: Value) {
        let mut script = self.script.lock().unwrap();
        script.answers.entry(path.into()).or_default().push_back((status, body));
    }

    /// The forms that came to a path.
    pub(super) fn asked(&self, path: &str) -> Vec<Form> {
        self.script.lock().unwrap().asked.get(path).cloned().unwrap_or_default()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>, metadata: Value) {
    let mut bytes = Vec::new();
    let (path, form) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        break (
            path,
            url::form_urlencoded::parse(body.as_bytes())
                .into_owned()
                .collect::<Form>(),
        );
    };
    let (status, body) = if path.starts_with("/.well-known/") {
        (200, metadata)
    } else {
        let mut script = script.lock().unwrap();
        script.asked.entry(path.clone()).or_default().push(form);
        let left = script.answers.entry(path).or_default();
        match left.len() {
            0 => (404, json!({})),
            1 => left[0].clone(),
            _ => left.pop_front().unwrap(),
        }
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}
