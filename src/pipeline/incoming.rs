//! A request as it came: nothing in it is believed yet, and its body is read once, when it is needed.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::config::Config;
use crate::mlflow::{Carried, MlflowError, Source};
use crate::telemetry::RequestId;

use super::asked::{Asked, Shown};
use super::{Gate, address, site};

/// Header names that are asked for with every request: parsed once, by the compiler.
pub(super) mod name {
    use actix_web::http::header::HeaderName;
    pub use actix_web::http::header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, ORIGIN, X_FORWARDED_FOR,
    };

    pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    /// MLflow's own convention on `/gateway/*`, where `Authorization` may hold a model vendor's key.
    pub const X_MLFLOW_AUTHORIZATION: HeaderName = HeaderName::from_static("x-mlflow-authorization");
    pub const X_MLFLOW_WORKSPACE: HeaderName = HeaderName::from_static("x-mlflow-workspace");
    pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
}

/// A body that is read to decide needs a place from here on. Bytes.
const LARGE: usize = 1 << 20;
/// Such places.
pub(super) const LARGE_AT_ONCE: usize = 16;
/// How long it waits for one.
const PLACE_TIME: Duration = Duration::from_secs(5);

/// A body moves at least this much …
const PACE_BYTES: u64 = 1024;
/// … in this time, or its sender is let go.
const PACE_TIME: Duration = Duration::from_secs(30);

/// What is seen of every request before anything else.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The client's, behind trusted proxies.
    pub address: IpAddr,
    pub id: RequestId,
}

impl Gate {
    pub fn see(&self, request: &HttpRequest) -> Seen {
        let peer = request
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let headers = request.headers();
        let forwarded: Vec<&[u8]> = headers
            .get_all(name::X_FORWARDED_FOR)
            .map(|value| value.as_bytes())
            .collect();
        let id = headers.get(name::X_REQUEST_ID).map(|given| given.as_bytes());
        self.see_from(peer, &forwarded, id)
    }

    /// Likewise of what did not come as a request: its `X-Forwarded-For`, and the id that it brings.
    pub fn see_from(&self, peer: IpAddr, forwarded: &[&[u8]], id: Option<&[u8]>) -> Seen {
        let network = &self.config.network;
        let new = RequestId::new(&*self.trail.random);
        let id = match id {
            Some(given) if address::is_trusted(peer, network) => new.taken_over(given),
            Some(_) | None => new,
        };
        Seen {
            address: address::client(peer, forwarded, network),
            id,
        }
    }
}

pub struct Incoming {
    head: Head,
    payload: Option<Payload>,
    /// Where places for large bodies are had, and the one that this has.
    places: Option<Arc<Semaphore>>,
    place: Option<OwnedSemaphorePermit>,
    base: usize,
    json_body: usize,
    pub(super) address: IpAddr,
    /// The address as it is written in the trail and towards MLflow.
    pub(super) address_text: String,
    pub(super) id: RequestId,
    pub(super) sender: Rc<Sender>,
}

/// Where the request is.
enum Head {
    /// Here: it goes through us.
    Ours(HttpRequest),
    /// With an ingress, which asks about it.
    Asked { asked: Box<Asked>, headers: HeaderMap },
}

/// What is known of the client's side of the body while it is under way.
#[derive(Debug, Default)]
pub(super) struct Sender {
    pub(super) bytes: Cell<u64>,
    pub(super) fault: Cell<Option<SenderFault>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SenderFault {
    Left,
    TooSlow,
}

impl Incoming {
    pub fn new(request: HttpRequest, payload: Payload, config: &Config, seen: Seen) -> Self {
        Self {
            base: config.base_path().len(),
            json_body: config.limits.json_body,
            head: Head::Ours(request),
            payload: Some(payload),
            places: None,
            place: None,
            address: seen.address,
            address_text: seen.address.to_string(),
            id: seen.id,
            sender: Rc::default(),
        }
    }

    /// A request that an ingress holds. Below `public_url`'s path on `public_url`'s host, at the root of any other.
    pub fn asked(asked: Asked, config: &Config, seen: Seen) -> Self {
        let host = site::without_port(&asked.host).to_ascii_lowercase();
        let is_home = config.public_url.host_str().is_some_and(|home| home == host);
        let mut headers = HeaderMap::with_capacity(asked.headers.len() + 1);
        for (name, value) in &asked.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        if let Ok(host) = HeaderValue::from_str(&asked.host) {
            headers.insert(name::HOST, host);
        }
        Self {
            base: if is_home { config.base_path().len() } else { 0 },
            json_body: config.limits.json_body,
            head: Head::Asked {
                asked: Box::new(asked),
                headers,
            },
            payload: None,
            places: None,
            place: None,
            address: seen.address,
            address_text: seen.address.to_string(),
            id: seen.id,
            sender: Rc::default(),
        }
    }

    pub(super) fn is_bounded_by(&mut self, places: Arc<Semaphore>) {
        self.places = Some(places);
    }

    /// A place for a large body, once.
    async fn take_place(&mut self) -> Result<(), MlflowError> {
        let Some(places) = self.places.clone().filter(|_| self.place.is_none()) else {
            return Ok(());
        };
        let taken = timeout(PLACE_TIME, places.acquire_owned()).await;
        self.place = Some(taken.ok().and_then(Result::ok).ok_or(MlflowError::Busy)?);
        Ok(())
    }

    /// The endpoint by which an ingress asks; `None` for what goes through us.
    pub(super) fn asked_by(&self) -> Option<&'static str> {
        match &self.head {
            Head::Ours(_) => None,
            Head::Asked { asked, .. } => Some(asked.by),
        }
    }

    fn headers(&self) -> &HeaderMap {
        match &self.head {
            Head::Ours(request) => request.headers(),
            Head::Asked { headers, .. } => headers,
        }
    }

    /// The raw path, `public_url`'s path included.
    pub(super) fn whole_path(&self) -> &str {
        match &self.head {
            Head::Ours(request) => request.uri().path(),
            Head::Asked { asked, .. } => &asked.path,
        }
    }

    /// How much of the path is `public_url`'s own.
    pub(super) fn base_length(&self) -> usize {
        self.base
    }

    /// Names (lower case) and values, in their order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// All values of a header.
    pub(super) fn all(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers().get_all(name).map(|value| value.as_bytes())
    }

    /// The host that was asked for, with its port. HTTP/2 has it in the target, and needs no header (RFC 9113, 8.3.1).
    pub(super) fn host(&self) -> Option<&str> {
        match self.headers().get(name::HOST) {
            Some(host) => host.to_str().ok(),
            None if self.is_http2() => self.target_authority(),
            None => None,
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        match &self.head {
            Head::Ours(request) => request.version() == Version::HTTP_2,
            Head::Asked { .. } => false,
        }
    }

    /// The authority of an absolute-form target.
    pub(super) fn target_authority(&self) -> Option<&str> {
        match &self.head {
            Head::Ours(request) => request.uri().authority().map(|authority| authority.as_str()),
            Head::Asked { .. } => None,
        }
    }

    pub(super) fn changes_something(&self) -> bool {
        !matches!(self.method(), "GET" | "HEAD" | "OPTIONS")
    }

    /// Whether a browser asks for a page with it.
    pub fn is_navigation(&self) -> bool {
        navigates(self.method(), self.headers())
    }

    /// What the client says that its body is long.
    pub(super) fn announced_length(&self) -> Option<u64> {
        self.headers().get(name::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The body, to be passed on as it comes. Empty when it was taken before.
    pub(super) fn take_body(&mut self) -> ClientBody {
        let left = self.announced_length();
        ClientBody {
            payload: self.payload.take(),
            left,
            sender: self.sender.clone(),
            pace: Pace::default(),
        }
    }
}

impl Source for Incoming {
    fn method(&self) -> &str {
        match &self.head {
            Head::Ours(request) => request.method().as_str(),
            Head::Asked { asked, .. } => &asked.method,
        }
    }

    fn path(&self) -> &str {
        self.whole_path().get(self.base..).unwrap_or("")
    }

    fn query(&self) -> Option<&str> {
        match &self.head {
            Head::Ours(request) => request.uri().query(),
            Head::Asked { asked, .. } => asked.query.as_deref(),
        }
    }

    fn header(&self, name: &str) -> Vec<&[u8]> {
        self.headers().get_all(name).map(|value| value.as_bytes()).collect()
    }

    fn carried(&self) -> Carried {
        match &self.head {
            Head::Ours(_) => Carried::ByUs,
            Head::Asked { asked, .. } => match asked.body {
                Shown::Nothing => Carried::Unseen,
                Shown::Whole(_) | Shown::Part => Carried::Seen,
            },
        }
    }

    fn longest_body(&self) -> usize {
        self.json_body
    }

    async fn body(&mut self) -> Result<Bytes, MlflowError> {
        if let Head::Asked { asked, .. } = &self.head {
            return match &asked.body {
                Shown::Whole(body) if body.len() > self.json_body => Err(MlflowError::TooLarge),
                Shown::Whole(body) => Ok(body.clone()),
                Shown::Part | Shown::Nothing => Err(MlflowError::Malformed(
                    "The ingress showed a part of the body alone: it must send more of it, or none.".to_owned(),
                )),
            };
        }
        if self
            .announced_length()
            .is_some_and(|length| length > self.json_body as u64)
        {
            return Err(MlflowError::TooLarge);
        }
        let mut body = self.take_body();
        let sender = self.sender.clone();
        let broken = || match sender.fault.get() {
            Some(SenderFault::TooSlow) => MlflowError::TooSlow,
            Some(SenderFault::Left) | None => MlflowError::ClientLeft,
        };
        let mut whole = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = frame.ok().and_then(|frame| frame.into_data().ok()).ok_or_else(broken)?;
            if whole.len() + data.len() > self.json_body {
                return Err(MlflowError::TooLarge);
            }
            if whole.len() + data.len() > LARGE {
                self.take_place().await?;
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

/// The client's body on its way to MLflow: counted, and held to a pace.
pub(super) struct ClientBody {
    payload: Option<Payload>,
    /// What is still to come, where the client said how much.
    left: Option<u64>,
    sender: Rc<Sender>,
    pace: Pace,
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(payload) = this.payload.as_mut() else {
            return Poll::Ready(None);
        };
        match Pin::new(payload).poll_next(cx) {
            Poll::Ready(Some(Ok(data))) => {
                let length = data.len() as u64;
                this.sender.bytes.set(this.sender.bytes.get() + length);
                this.left = this.left.map(|left| left.saturating_sub(length));
                this.pace.moved(length);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(None) => {
                this.payload = None;
                Poll::Ready(None)
            }
            // A broken upload ends the request to MLflow broken too: it must never look whole.
            Poll::Ready(Some(Err(error))) => {
                this.payload = None;
                this.sender.fault.set(Some(SenderFault::Left));
                Poll::Ready(Some(Err(io::Error::other(error.to_string()))))
            }
            Poll::Pending => {
                ready!(this.pace.poll_too_slow(cx));
                this.payload = None;
                this.sender.fault.set(Some(SenderFault::TooSlow));
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_none() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

/// Runs only while we wait for the client: MLflow's own slowness is not held against it.
#[derive(Default)]
struct Pace {
    waiting: Option<Pin<Box<Sleep>>>,
    moved: u64,
}

impl Pace {
    fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= PACE_BYTES {
            *self = Self::default();
        }
    }

    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + PACE_TIME)));
        waiting.as_mut().poll(cx)
    }
}

/// How large a request's head is, about as it was on the wire.
pub fn head_size(request: &HttpRequest) -> usize {
    let line = request.path().len() + request.uri().query().map_or(0, str::len);
    let headers = request.headers().iter();
    line + headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
}

/// Whether a browser asks for a page, as opposed to a script or a program that asks for data.
pub fn is_navigation(request: &HttpRequest) -> bool {
    navigates(request.method().as_str(), request.headers())
}

fn navigates(method: &str, headers: &HeaderMap) -> bool {
    let absent_or = |name: &str, wanted: &str| headers.get_all(name).all(|value| value == wanted);
    matches!(method, "GET" | "HEAD")
        && !headers.contains_key("authorization")
        && !headers.contains_key("x-requested-with")
        && absent_or("sec-fetch-mode", "navigate")
        && absent_or("sec-fetch-dest", "document")
        && headers.get_all("accept").any(|accept| names_html(accept.as_bytes()))
}

/// `text/html` among the media types, whatever its parameters; `*/*` alone is a program.
fn names_html(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|range| {
        let kind = range.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_a_browser_that_asks_for_a_page_navigates() {
        const HTML: (&str, &str) = ("accept", "application/xhtml+xml, Text/HTML;q=0.9");
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(&str, Headers, bool); 12] = [
            ("GET", &[HTML], true),
            ("HEAD", &[HTML], true),
            (
                "GET",
                &[HTML, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
                true,
            ),
            ("GET", &[("accept", "*/*")], false),
            ("GET", &[], false),
            ("GET", &[("accept", "application/json")], false),
            ("GET", &[("accept", "x/text/html")], false),
            ("POST", &[HTML], false),
            ("GET", &[HTML, ("authorization", "Bearer x")], false),
            ("GET", &[HTML, ("x-requested-with", "XMLHttpRequest")], false),
            ("GET", &[HTML, ("sec-fetch-mode", "cors")], false),
            (
                "GET",
                &[HTML, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
                false,
            ),
        ];
        for (method, headers, expected) in cases {
            let mut request = TestRequest::default().method(Method::from_bytes(method.as_bytes()).unwrap());
            for header in headers {
                request = request.append_header(*header);
            }
            assert_eq!(
                is_navigation(&request.to_http_request()),
                expected,
                "{method} {headers:?}"
            );
        }
    }
}
