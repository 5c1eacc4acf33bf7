//! `/auth/check/…`: an ingress asks whether it may carry a request on. Each endpoint reads what its family of proxies sends,
//! and nothing else; the decision is the pipeline's.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::config::CheckEndpoint;
use crate::pipeline::{
    Asked, Gate, Granted, Incoming, Misasked, Seen, Shown, Stopped, is_twin, must_be_web, split_url,
};

use super::error::{self, Asking};
use super::front::Front;
use super::guard;

const AUTH_REQUEST: &str = "/auth/check/auth-request";
const FORWARD_AUTH: &str = "/auth/check/forward-auth";
const EXT_AUTHZ: &str = "/auth/check/ext-authz";

/// What Traefik writes into each of its questions. Its provider for ingress-nginx's annotations asks where they say, but never
/// writes the headers of ingress-nginx: under it those would be the client's own word.
const TRAEFIKS: [&str; 3] = ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-server"];

/// An ingress has the whole body before it asks.
const BODY_TIME: Duration = Duration::from_secs(5);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route(AUTH_REQUEST, web::to(auth_request))
        .route(FORWARD_AUTH, web::to(forward_auth))
        // Whatever follows is the path that is asked about, and is read as it came.
        .service(web::scope(EXT_AUTHZ).default_service(web::to(ext_authz)));
}

/// One question, as it came.
struct Question {
    request: HttpRequest,
    payload: Cell<Option<web::Payload>>,
    gate: web::Data<ArcSwap<Gate>>,
    front: web::Data<ArcSwap<Front>>,
}

impl FromRequest for Question {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let parts = (request.app_data().cloned(), request.app_data().cloned());
        let (Some(gate), Some(front)) = parts else {
            return ready(Err(actix_web::error::ErrorInternalServerError(
                "the gate is not set up",
            )));
        };
        ready(Ok(Self {
            request: request.clone(),
            payload: Cell::new(web::Payload::from_request(request, payload).into_inner().ok()),
            gate,
            front,
        }))
    }
}

async fn auth_request(question: Question) -> HttpResponse {
    let answered = question.answer(CheckEndpoint::AuthRequest).await;
    answered.map_or_else(for_nginx, allowed)
}

async fn forward_auth(question: Question) -> HttpResponse {
    let answered = question.answer(CheckEndpoint::ForwardAuth).await;
    answered.map_or_else(|refusal| refusal.response, allowed)
}

async fn ext_authz(question: Question) -> HttpResponse {
    let answered = question.answer(CheckEndpoint::ExtAuthz).await;
    answered.map_or_else(|refusal| refusal.response, allowed)
}

/// A no, or no answer at all.
pub(super) struct Refusal {
    pub(super) response: HttpResponse,
    /// Where a person signs in to come back to what was asked.
    sign_in: Option<String>,
    is_navigation: bool,
}

impl From<HttpResponse> for Refusal {
    fn from(response: HttpResponse) -> Self {
        Self {
            response,
            sign_in: None,
            is_navigation: false,
        }
    }
}

/// Whether the ingress may carry the request on; and if not, what the client is told.
pub(super) async fn decide(gate: &Gate, front: &Front, asked: Asked, seen: Seen) -> Result<Granted, Refusal> {
    let config = gate.config();
    let url = asked.url(config.public_url.scheme());
    let id = seen.id.clone();
    let incoming = Incoming::asked(asked, config, seen);
    let is_navigation = incoming.is_navigation();
    match Box::pin(gate.decide(incoming)).await {
        Ok(granted) => Ok(granted),
        Err(halted) => {
            let asking = Asking {
                is_navigation,
                asked: &url,
                origin: &config.origin(),
            };
            let sign_in = asking.sign_in(&front.pages, &halted.stopped);
            let response = Box::pin(error::answer(&asking, gate, &front.pages, id.as_str(), halted)).await;
            Err(Refusal {
                response,
                sign_in,
                is_navigation,
            })
        }
    }
}

/// Whoever set the ingress up reads why in the log; a stranger does not.
pub(super) fn misasked(endpoint: &str, seen: &Seen, Misasked(text): &Misasked) -> HttpResponse {
    let request_id = seen.id.as_str();
    tracing::warn!(
        request_id,
        endpoint,
        "an ingress asks nothing that can be decided: {text}"
    );
    let told = Stopped::Malformed("The ingress does not say what is asked for; the gateway's log says why.".to_owned());
    error::for_program(&told.told(""), request_id)
}

impl Question {
    async fn answer(self, endpoint: CheckEndpoint) -> Result<Granted, Refusal> {
        let gate = self.gate.load_full();
        let Some(seen) = guard::seen(&self.request) else {
            return Err(error::not_found("").into());
        };
        if !gate.config().check.endpoints.contains(&endpoint) {
            return Err(error::not_found(seen.id.as_str()).into());
        }
        let front = self.front.load_full();
        match self.read(endpoint, &gate).await {
            Ok(asked) => decide(&gate, &front, asked, seen).await,
            Err(why) => Err(misasked(endpoint.as_str(), &seen, &why).into()),
        }
    }

    async fn read(&self, endpoint: CheckEndpoint, gate: &Gate) -> Result<Asked, Misasked> {
        let headers = self.request.headers();
        let peer = self.request.peer_addr().map(|peer| peer.ip());
        if !peer.is_some_and(|peer| gate.is_trusted(peer)) {
            let peer = peer.map_or_else(|| "nobody".to_owned(), |peer| peer.to_string());
            return Err(Misasked(format!("{peer} is not in network.trusted_proxies")));
        }
        let by = endpoint.as_str();
        match endpoint {
            CheckEndpoint::AuthRequest if TRAEFIKS.iter().all(|name| headers.contains_key(*name)) => Err(Misasked(
                format!("Traefik asks, whose auth-url must lead to {FORWARD_AUTH}"),
            )),
            CheckEndpoint::AuthRequest => {
                let (host, target) = split_url(one(headers, "x-original-url")?)?;
                let method = one(headers, "x-original-method")?;
                Asked::new(by, method, host, target, clients(headers)?, Shown::Nothing)
            }
            CheckEndpoint::ForwardAuth => {
                must_be_web(one(headers, "x-forwarded-proto")?)?;
                let (method, host) = (one(headers, "x-forwarded-method")?, one(headers, "x-forwarded-host")?);
                let target = one(headers, "x-forwarded-uri")?;
                Asked::new(by, method, host, target, clients(headers)?, Shown::Nothing)
            }
            CheckEndpoint::ExtAuthz => {
                let target = self.request.uri().path_and_query().map_or("", |target| target.as_str());
                let target = target
                    .strip_prefix(gate.base_path())
                    .and_then(|target| target.strip_prefix(EXT_AUTHZ))
                    .ok_or_else(|| Misasked(format!("the path does not begin with the path prefix {EXT_AUTHZ}")))?;
                // HTTP/2 has it in the target (RFC 9113, 8.3.1).
                let host = match self.request.uri().authority() {
                    Some(authority) if !headers.contains_key("host") => authority.as_str(),
                    _ => one(headers, "host")?,
                };
                let body = self.shown(gate).await?;
                Asked::new(
                    by,
                    self.request.method().as_str(),
                    host,
                    target,
                    clients(headers)?,
                    body,
                )
            }
        }
    }

    /// The body, where Envoy says whether it is whole. It says so of every body that it sends, if it is let.
    async fn shown(&self, gate: &Gate) -> Result<Shown, Misasked> {
        const PARTIAL: &str = "x-envoy-auth-partial-body";
        let limit = gate.config().limits.json_body;
        let body = match self.payload.take() {
            Some(payload) => read_up_to(payload, limit).await?,
            None => Bytes::new(),
        };
        if !self.request.headers().contains_key(PARTIAL) {
            return match body.is_empty() {
                true => Ok(Shown::Nothing),
                false => Err(Misasked(format!(
                    "a body comes without the header {PARTIAL}: name it among allowed_headers, or the body could be a part"
                ))),
            };
        }
        match one(self.request.headers(), PARTIAL)? {
            // A client may write this header too; where Envoy shows a body, it is Envoy's.
            "false" if body.is_empty() => Ok(Shown::Nothing),
            "false" => Ok(Shown::Whole(body)),
            _ => Ok(Shown::Part),
        }
    }
}

async fn read_up_to(payload: web::Payload, limit: usize) -> Result<Bytes, Misasked> {
    match tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(limit)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) | Err(_) => Err(Misasked("the body broke off, or came too slowly".to_owned())),
        Ok(Err(_)) => Err(Misasked(
            "the body is larger than limits.json_body: max_request_bytes must not be".to_owned(),
        )),
    }
}

/// The only value of a header that the ingress must set.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Misasked> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Err(Misasked(format!(
            "the header {name} is missing: the ingress must set it"
        ))),
        (Some(_), Some(_)) => Err(Misasked(format!(
            "the header {name} stands twice: the ingress must replace the client's"
        ))),
        (Some(value), None) => value
            .to_str()
            .map_err(|_| Misasked(format!("the header {name} is no text"))),
    }
}

/// The client's own headers, less those that tell of the question itself. They go to MLflow as they came, and a server that takes
/// `x_mlflow_workspace` for `x-mlflow-workspace` would go by what was not decided on.
fn clients(headers: &HeaderMap) -> Result<Vec<(String, Vec<u8>)>, Misasked> {
    if let Some(twin) = headers.keys().find(|name| is_twin(name.as_str())) {
        return Err(Misasked(format!(
            "the header {twin} is a second spelling of one that decides"
        )));
    }
    Ok(headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding"))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()))
        .collect())
}

/// Exactly 200: some ingresses take no other for a yes.
fn allowed(granted: Granted) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(("cache-control", "no-store"));
    for (name, value) in &granted.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_str().as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            response.insert_header((name, value));
        }
    }
    let mut response = response.finish();
    // Names have no case (RFC 9110, 5.1), but the Lua of ingress-nginx's auth-keepalive looks for these with capitals.
    response.head_mut().set_camel_case_headers(true);
    response
}

/// nginx knows three answers, and takes every other one for a failure of ours. A redirect it cannot pass on; its own
/// configuration makes one of `Location`, which is there for who navigates alone.
fn for_nginx(refusal: Refusal) -> HttpResponse {
    let status = refusal.response.status().as_u16();
    let id = refusal.response.headers().get("x-request-id").cloned();
    let mut response = match status {
        302 | 401 => HttpResponse::Unauthorized(),
        _ => HttpResponse::Forbidden(),
    };
    response.insert_header(("cache-control", "no-store"));
    if let Some(id) = id {
        response.insert_header(("x-request-id", id));
    }
    if matches!(status, 302 | 401) {
        response.insert_header(("www-authenticate", "Bearer"));
        if let Some(sign_in) = refusal.sign_in {
            if refusal.is_navigation {
                response.insert_header(("location", sign_in.as_str()));
            }
            response.insert_header(("x-auth-redirect", sign_in));
        }
    }
    response.finish()
}
