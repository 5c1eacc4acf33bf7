//! The client for MLflow: HTTP/1.1 on hyper, connections pooled per worker thread, bodies streamed as they come.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::body::{LocalBody, Upload, Watched, collect, empty, full};
use super::pool::{Line, attach};
use super::tls;
use super::wire::Wire;
use crate::config;

const WORKSPACE: HeaderName = HeaderName::from_static("x-mlflow-workspace");

/// What one connection may hold of an answer that its client takes slowly.
const READ_BUFFER: usize = 64 * 1024;

#[derive(Debug, Error)]
pub enum UpstreamError {
    #[error("MLflow cannot be reached: {0}")]
    Unreachable(String),
    #[error("MLflow did not answer in time")]
    Timeout,
    #[error("MLflow's answer broke off: {0}")]
    Broken(String),
    #[error("MLflow's answer is larger than the gateway reads")]
    TooLarge,
}

/// One upstream. Shared between workers; each thread has its own pool. Calls need a `LocalSet`, as actix gives.
#[derive(Debug)]
pub struct UpstreamClient {
    origin: Arc<Origin>,
    /// `X-MLFLOW-WORKSPACE` of every request.
    workspace: Option<HeaderValue>,
}

pub(super) struct Origin {
    host: String,
    port: u16,
    /// `Host` as MLflow's host check wants it: its own.
    authority: HeaderValue,
    /// The upstream's own path, without a trailing slash.
    prefix: String,
    credential: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl UpstreamClient {
    /// # Errors
    /// When a certificate file cannot be used.
    pub fn new(config: &config::Upstream) -> Result<Self, String> {
        let host = config.url.host_str().ok_or("the upstream's url names no host")?;
        let port = config
            .url
            .port_or_known_default()
            .ok_or("the upstream's url names no port")?;
        let authority = match config.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let credential = config.basic_auth.as_ref().map(|(user, password)| {
            let text = format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())));
            HeaderValue::try_from(text).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        let origin = Origin {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::try_from(authority).map_err(|_| "the upstream's host cannot be a header")?,
            prefix: config.url.path().trim_end_matches('/').to_owned(),
            credential: credential
                .transpose()
                .map_err(|_| "the upstream's credential cannot be a header")?,
            tls: tls::client(config)?,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
        };
        Ok(Self {
            origin: Arc::new(origin),
            workspace: None,
        })
    }

    /// The same server and the same connections, within one of its workspaces.
    pub fn within(&self, workspace: HeaderValue) -> Self {
        Self {
            origin: self.origin.clone(),
            workspace: Some(workspace),
        }
    }

    /// Sends a request whose URI is path and query alone; the upstream's own path, `Host` and credential are added here.
    /// Dropping the answer, or the future, cancels the request upstream.
    ///
    /// # Errors
    /// `Timeout` when nothing moves for `response_timeout` before the answer's head; a stream has no limit of its own.
    pub async fn send(&self, request: Request<LocalBody>) -> Result<Response<LocalBody>, UpstreamError> {
        match self.send_pooled(request).await? {
            Pooled::Answered(answer) => Ok(answer),
            // Boxed: a handshake takes room that nearly no request needs, and that each would be moved about with.
            Pooled::Unsent(request) => Box::pin(self.send_anew(request)).await,
            Pooled::Died(error) => Err(error),
        }
    }

    /// Like `send`, for a request that changes nothing and has no body: it is made and sent a second time when a pooled
    /// connection dies under it.
    ///
    /// # Errors
    /// Like `send`.
    pub async fn send_safely(
        &self,
        make: impl Fn() -> Request<LocalBody>,
    ) -> Result<Response<LocalBody>, UpstreamError> {
        match self.send_pooled(make()).await? {
            Pooled::Answered(answer) => Ok(answer),
            Pooled::Unsent(request) => Box::pin(self.send_anew(request)).await,
            Pooled::Died(_) => Box::pin(self.send_anew(self.addressed(make())?)).await,
        }
    }

    async fn send_pooled(&self, request: Request<LocalBody>) -> Result<Pooled, UpstreamError> {
        let (mut request, upload) = self.addressed(request)?;
        while let Some(mut line) = Line::idle(&self.origin) {
            match self.exchange(&mut line, request, &upload).await {
                Ok(answer) => return Ok(Pooled::Answered(attach(answer, line, upload))),
                Err(Failed { unsent: Some(back), .. }) => request = *back,
                Err(Failed {
                    error: error @ UpstreamError::Broken(_),
                    ..
                }) => return Ok(Pooled::Died(error)),
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        Ok(Pooled::Unsent((request, upload)))
    }

    async fn send_anew(&self, (request, upload): Addressed) -> Result<Response<LocalBody>, UpstreamError> {
        let mut line = self.connect().await?;
        match self.exchange(&mut line, request, &upload).await {
            Ok(answer) => Ok(attach(answer, line, upload)),
            Err(failed) => Err(failed.error),
        }
    }

    fn addressed(&self, request: Request<LocalBody>) -> Result<Addressed, UpstreamError> {
        let (mut parts, body) = request.into_parts();
        self.address(&mut parts)?;
        let upload = Rc::new(Upload::default());
        let body: LocalBody = if body.is_end_stream() {
            upload.done.set(true);
            body
        } else {
            Box::pin(Watched::new(body, upload.clone()))
        };
        Ok((Request::from_parts(parts, body), upload))
    }

    /// A small question of the gateway's own (look-ups, version, lists): the whole answer, at most `limit` bytes. A body is sent as JSON.
    ///
    /// # Errors
    /// `TooLarge` past the limit; `Timeout` when the whole takes longer than `response_timeout`.
    pub async fn fetch(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), UpstreamError> {
        let uri = Uri::try_from(target).map_err(|_| UpstreamError::Broken("a target that is no path".into()))?;
        let is_safe = method.is_safe() && body.is_none();
        let make = || {
            let mut request = Request::new(empty());
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static("application/json"));
            if let Some(body) = &body {
                request
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                request
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                *request.body_mut() = full(body.clone());
            }
            request
        };
        let whole = async {
            let answer = if is_safe {
                self.send_safely(make).await?
            } else {
                self.send(make()).await?
            };
            let status = answer.status();
            Ok((status, collect(answer.into_body(), limit).await?))
        };
        timeout(self.origin.response_timeout, whole)
            .await
            .map_err(|_| UpstreamError::Timeout)?
    }

    fn address(&self, parts: &mut http::request::Parts) -> Result<(), UpstreamError> {
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = if self.origin.prefix.is_empty() && parts.uri.authority().is_none() {
            None
        } else {
            Some(format!("{}{target}", self.origin.prefix))
        };
        if let Some(target) = target {
            let target = Uri::try_from(target).map_err(|_| UpstreamError::Broken("a target that is no path".into()))?;
            parts.uri = target;
        }
        parts.version = http::Version::HTTP_11;
        parts.headers.insert(HOST, self.origin.authority.clone());
        if let Some(workspace) = &self.workspace {
            parts.headers.insert(WORKSPACE, workspace.clone());
        }
        match &self.origin.credential {
            Some(credential) => parts.headers.insert(AUTHORIZATION, credential.clone()),
            None => None,
        };
        Ok(())
    }

    async fn exchange(
        &self,
        line: &mut Line,
        request: Request<LocalBody>,
        upload: &Upload,
    ) -> Result<Response<Incoming>, Failed> {
        let (sender, alarm) = (&mut line.sender, &mut line.alarm);
        let mut answer = std::pin::pin!(sender.try_send_request(request));
        upload.moved();
        let ended = poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            loop {
                // Set for an earlier request, mostly: it is moved when it rings, not for each request.
                ready!(alarm.as_mut().poll(cx));
                let deadline = upload.last_move.get() + self.origin.response_timeout;
                // A long upload is no silence.
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
                alarm.as_mut().reset(deadline);
            }
        });
        match ended.await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(mut failure)) => {
                let unsent = failure.take_message().map(Box::new);
                Err(Failed {
                    error: broken(failure.error()),
                    unsent,
                })
            }
            None => Err(Failed {
                error: UpstreamError::Timeout,
                unsent: None,
            }),
        }
    }

    async fn connect(&self) -> Result<Line, UpstreamError> {
        timeout(self.origin.connect_timeout, self.origin.connect())
            .await
            .map_err(|_| UpstreamError::Unreachable("no connection in time".to_owned()))?
            .map(|(sender, driver)| Line::new(sender, driver, &self.origin, self.origin.response_timeout))
            .map_err(|error| UpstreamError::Unreachable(error.to_string()))
    }
}

impl Origin {
    async fn connect(&self) -> Result<(SendRequest<LocalBody>, AbortHandle), Box<dyn std::error::Error>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => drive(TokioIo::new(stream)).await,
            Some(connector) => {
                let name = rustls::pki_types::ServerName::try_from(self.host.clone())?;
                drive(TokioIo::new(connector.connect(name, stream).await?)).await
            }
        }
    }
}

async fn drive<T>(io: T) -> Result<(SendRequest<LocalBody>, AbortHandle), Box<dyn std::error::Error>>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let (sender, connection) = Builder::new().max_buf_size(READ_BUFFER).handshake(Wire(io)).await?;
    let driver = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to MLflow ended");
        }
    });
    Ok((sender, driver.abort_handle()))
}

/// A request on its way out, and how far its body is.
type Addressed = (Request<LocalBody>, Rc<Upload>);

/// What became of a request on the connections that were there already.
enum Pooled {
    Answered(Response<LocalBody>),
    /// None of them took it.
    Unsent(Addressed),
    /// One died under it.
    Died(UpstreamError),
}

struct Failed {
    error: UpstreamError,
    /// The request, where not a byte of it was sent.
    unsent: Option<Box<Request<LocalBody>>>,
}

fn broken(error: &hyper::Error) -> UpstreamError {
    UpstreamError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    use super::*;

    fn settings(url: &str) -> config::Upstream {
        config::Upstream {
            name: "test".into(),
            hosts: Vec::new(),
            url: url.parse().unwrap(),
            mlflow_version: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            basic_auth: Some(("gate".into(), crate::domain::Secret::new("word"))),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_millis(300),
            attribution: true,
            sharing: true,
            artifact_roots: Vec::new(),
            assistant: false,
            protected_aliases: Arc::default(),
        }
    }

    /// A server that plays the given answers, connection by connection, and tells each request's head.
    async fn server(connections: Vec<Vec<&'static str>>) -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, heads) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            for answers in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                let told = told.clone();
                tokio::task::spawn_local(async move {
                    for answer in answers {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            match stream.read_u8().await {
                                Ok(byte) => head.push(byte),
                                Err(_) => return told.send("closed".to_owned()).unwrap_or(()),
                            }
                        }
                        told.send(String::from_utf8(head).unwrap()).unwrap();
                        if answer == "hang up" {
                            return;
                        }
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                    let _ = stream.read_u8().await;
                    told.send("closed".to_owned()).unwrap_or(());
                });
            }
        });
        (format!("http://{address}"), heads)
    }

    async fn local<T>(test: impl Future<Output = T>) -> T {
        LocalSet::new().run_until(test).await
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn a_connection_is_used_again_and_says_who_we_are() {
        local(async {
            let (url, mut heads) = server(vec![vec![OK, OK]]).await;
            let client = UpstreamClient::new(&settings(&format!("{url}/mlf/"))).unwrap();
            for _ in 0..2 {
                let (status, body) = client.fetch(Method::GET, "/version?a=%2e", None, 10).await.unwrap();
                assert_eq!((status, body.as_ref()), (StatusCode::OK, b"ok".as_ref()));
                let head = heads.recv().await.unwrap().to_lowercase();
                assert!(head.starts_with("get /mlf/version?a=%2e http/1.1\r\n"), "{head}");
                assert!(head.contains(&format!("host: {}\r\n", &url[7..])), "{head}");
                assert!(head.contains("authorization: basic z2f0ztp3b3jk\r\n"), "{head}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_pooled_connection_that_died_costs_a_read_nothing() {
        local(async {
            let (url, _heads) = server(vec![vec![OK, "hang up"], vec![OK]]).await;
            let client = UpstreamClient::new(&settings(&url)).unwrap();
            for _ in 0..2 {
                assert!(client.fetch(Method::GET, "/", None, 10).await.is_ok());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_that_was_sent_is_never_sent_twice() {
        local(async {
            let (url, mut heads) = server(vec![vec![OK, "hang up"], vec![OK]]).await;
            let client = UpstreamClient::new(&settings(&url)).unwrap();
            assert!(client.fetch(Method::GET, "/", None, 10).await.is_ok());
            let answer = client.fetch(Method::POST, "/", None, 10).await;
            assert!(matches!(answer, Err(UpstreamError::Broken(_))), "{answer:?}");
            assert!(heads.recv().await.unwrap().starts_with("GET"));
            assert!(heads.recv().await.unwrap().starts_with("POST"));
            assert!(heads.try_recv().is_err());
        })
        .await;
    }

    #[tokio::test]
    async fn silence_is_a_timeout_and_a_long_answer_is_refused() {
        local(async {
            let (url, _heads) = server(vec![vec![""], vec![OK]]).await;
            let client = UpstreamClient::new(&settings(&url)).unwrap();
            let silent = client.fetch(Method::GET, "/", None, 10).await;
            assert!(matches!(silent, Err(UpstreamError::Timeout)), "{silent:?}");
            let long = client.fetch(Method::GET, "/", None, 1).await;
            assert!(matches!(long, Err(UpstreamError::TooLarge)), "{long:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn an_answer_that_is_dropped_closes_its_connection() {
        local(async {
            let (url, mut heads) = server(vec![vec!["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"]]).await;
            let client = UpstreamClient::new(&settings(&url)).unwrap();
            let answer = client.send(Request::get("/").body(empty()).unwrap()).await.unwrap();
            heads.recv().await.unwrap();
            drop(answer);
            assert_eq!(heads.recv().await.unwrap(), "closed");
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_there_is_said_as_such() {
        local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            drop(listener);
            let client = UpstreamClient::new(&settings(&url)).unwrap();
            let answer = client.fetch(Method::GET, "/", None, 10).await;
            assert!(matches!(answer, Err(UpstreamError::Unreachable(_))), "{answer:?}");
        })
        .await;
    }
}
