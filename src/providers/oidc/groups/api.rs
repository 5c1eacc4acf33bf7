//! Questions to an API that answers with JSON pages, and what its refusals mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::super::super::ProviderError;
use super::super::failure::{self, tame};
use crate::domain::{Clock, Secret};
use crate::outbound::provider::ProviderClient;

/// What an API that asks to be left alone gets at least, and at most.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// 401: not with this access token.
    BadToken(String),
    /// 403: it may not be asked this.
    Denied(String),
    /// 404.
    NotFound,
    Other(ProviderError),
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self::Other(error)
    }
}

pub(super) struct Api {
    name: &'static str,
    http: Arc<ProviderClient>,
    clock: Arc<dyn Clock>,
    /// Microseconds: it is not asked before.
    rests_until: AtomicI64,
}

impl Api {
    pub(super) fn new(name: &'static str, http: Arc<ProviderClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            name,
            http,
            clock,
            rests_until: AtomicI64::new(0),
        }
    }

    pub(super) async fn get(&self, url: &Url, bearer: &Secret) -> Result<Map<String, Value>, Failed> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", bearer.expose()))
            .map_err(|_| self.broken("cannot be asked with such an access token"))?;
        bearer.set_sensitive(true);
        let request = http::Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(Vec::new());
        self.send(request).await
    }

    pub(super) async fn post_form(&self, url: &Url, form: &[(&str, &str)]) -> Result<Map<String, Value>, Failed> {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = http::Request::post(url.as_str())
            .header(ACCEPT, "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.into_bytes());
        self.send(request).await
    }

    async fn send(&self, request: http::Result<http::Request<Vec<u8>>>) -> Result<Map<String, Value>, Failed> {
        let request = request.map_err(|_| self.broken("has no usable address"))?;
        if self.clock.now().micros() < self.rests_until.load(Ordering::Relaxed) {
            return Err(self.away("asked to be left alone for a while"));
        }
        let answer = self.http.send(request).await.map_err(failure::of_client)?;
        let body: Option<Map<String, Value>> = serde_json::from_slice(answer.body()).ok();
        let status = answer.status();
        if status == StatusCode::OK {
            return body.ok_or_else(|| self.broken("answers with no JSON object"));
        }
        let said = || format!("{} answers {status}: {}", self.name, told(body.as_ref()));
        match status {
            StatusCode::TOO_MANY_REQUESTS => Err(self.rest(answer.headers())),
            StatusCode::FORBIDDEN if body.as_ref().is_some_and(says_too_often) => Err(self.rest(answer.headers())),
            StatusCode::UNAUTHORIZED => Err(Failed::BadToken(said())),
            StatusCode::FORBIDDEN => Err(Failed::Denied(said())),
            StatusCode::NOT_FOUND => Err(Failed::NotFound),
            _ => Err(Failed::Other(ProviderError::Unavailable(said()))),
        }
    }

    fn rest(&self, headers: &HeaderMap) -> Failed {
        let asked = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let rest = asked.map_or(SHORTEST_REST, Duration::from_secs);
        let until = self.clock.now().plus(rest.clamp(SHORTEST_REST, LONGEST_REST));
        self.rests_until.store(until.micros(), Ordering::Relaxed);
        self.away("is asked too often")
    }

    fn away(&self, what: &str) -> Failed {
        Failed::Other(ProviderError::Unavailable(format!("{} {what}", self.name)))
    }

    pub(super) fn broken(&self, what: &str) -> Failed {
        Failed::Other(ProviderError::Refused(format!("{} {what}", self.name)))
    }
}

/// Google's Directory API says 403 too where it is asked too often; the reason tells.
fn says_too_often(body: &Map<String, Value>) -> bool {
    let reasons = body.get("error").and_then(|error| error.get("errors")?.as_array());
    reasons.into_iter().flatten().any(|error| {
        let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
        matches!(reason, "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded")
    })
}

/// What an error says of itself: `{"error": {"message"}}`, or OAuth's `{"error", "error_description"}`.
fn told(body: Option<&Map<String, Value>>) -> String {
    let text = body.and_then(|body| match body.get("error")? {
        Value::Object(error) => error.get("message")?.as_str().map(str::to_owned),
        Value::String(code) => {
            let description = body
                .get("error_description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Some(format!("{code} {description}"))
        }
        _ => None,
    });
    tame(&text.unwrap_or_else(|| "without a reason".to_owned()).trim())
}
