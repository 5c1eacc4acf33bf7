//! One question to the upstream, and how its answer is read: found, not there, or no answer at all.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::mlflow::MlflowError;
use crate::outbound::{UpstreamClient, UpstreamError};

/// A run with a hundred thousand metrics is about 10 MiB.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

pub(super) struct Question {
    client: Arc<UpstreamClient>,
}

impl Question {
    pub(super) fn new(client: Arc<UpstreamClient>) -> Self {
        Self { client }
    }

    /// `None` where MLflow says that there is no such thing.
    pub(super) async fn get(&self, target: &str) -> Result<Option<Value>, MlflowError> {
        self.get_if_routed(target)
            .await?
            .ok_or_else(|| MlflowError::Upstream("it does not know a route that a look-up needs".into()))
    }

    /// The outer `None` where this version of MLflow has no such route.
    pub(super) async fn get_if_routed(&self, target: &str) -> Result<Option<Option<Value>>, MlflowError> {
        let (status, body) = self.fetch(Method::GET, target, None).await?;
        let json = serde_json::from_slice::<Value>(&body).ok();
        match (status, json) {
            (StatusCode::OK, Some(json)) => Ok(Some(Some(json))),
            (StatusCode::NOT_FOUND, None) => Ok(None),
            (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, Some(json)) if says_missing(&json) => Ok(Some(None)),
            _ => Err(unexpected(status)),
        }
    }

    pub(super) async fn post(&self, target: &str, body: &Value) -> Result<Value, MlflowError> {
        let body = Bytes::from(body.to_string());
        match self.fetch(Method::POST, target, Some(body)).await? {
            (StatusCode::OK, body) => {
                serde_json::from_slice(&body).map_err(|_| MlflowError::Upstream("its answer is no JSON".into()))
            }
            (status, _) => Err(unexpected(status)),
        }
    }

    async fn fetch(
        &self,
        method: Method,
        target: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), MlflowError> {
        Ok(Box::pin(self.client.fetch(method, target, body, ANSWER_LIMIT)).await?)
    }
}

impl From<UpstreamError> for MlflowError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Timeout => Self::Timeout,
            other => Self::Upstream(other.to_string()),
        }
    }
}

fn unexpected(status: StatusCode) -> MlflowError {
    MlflowError::Upstream(format!("it answered {} to a look-up", status.as_u16()))
}

/// A value that MLflow finds impossible names nothing either.
fn says_missing(answer: &Value) -> bool {
    let code = answer.get("error_code").and_then(Value::as_str);
    matches!(code, Some("RESOURCE_DOES_NOT_EXIST" | "INVALID_PARAMETER_VALUE"))
}

/// Path and query, values encoded.
pub(super) fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let encoded = Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{encoded}")
}

pub(super) fn text<'a>(answer: &'a Value, pointer: &str) -> Option<&'a str> {
    answer.pointer(pointer)?.as_str()
}

/// The one spelling of an experiment's id.
pub(super) fn is_experiment_id(id: &str) -> bool {
    id == "0"
        || (id.len() <= 19 && !id.starts_with('0') && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// An id that may stand in a path as it is, and can be nothing else there.
pub(super) fn is_plain_id(id: &str) -> bool {
    (1..=256).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_have_one_spelling() {
        for id in ["0", "1", "42", "9223372036854775807"] {
            assert!(is_experiment_id(id), "{id}");
        }
        for id in [
            "",
            "01",
            "00",
            " 1",
            "1 ",
            "+1",
            "-1",
            "1_0",
            "١",
            "1\n",
            "12345678901234567890",
        ] {
            assert!(!is_experiment_id(id), "{id:?}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_a_path() {
        for id in ["0123456789abcdef0123456789abcdef", "m-0a", "tr-0a", "iss-1"] {
            assert!(is_plain_id(id), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a;b", "a b", "ä"] {
            assert!(!is_plain_id(id), "{id:?}");
        }
    }

    #[test]
    fn names_are_encoded_whole() {
        assert_eq!(
            query("/p", &[("name", "a&b=c d/ü+%#")]),
            "/p?name=a%26b%3Dc+d%2F%C3%BC%2B%25%23"
        );
    }
}
