//! The token endpoint (RFC 6749, 5), for every grant of the commands.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use crate::domain::{Clock, visible};

use super::CLIENT_ID;
use super::credentials::Entry;
use super::http::{Answer, Away, Http};
use super::metadata::Metadata;

/// Where a gateway is asked for tokens.
#[derive(Clone)]
pub(super) struct Endpoints {
    pub(super) token: Url,
    pub(super) revocation: Option<Url>,
}

impl From<&Metadata> for Endpoints {
    fn from(metadata: &Metadata) -> Self {
        Self {
            token: metadata.token_endpoint.clone(),
            revocation: metadata.revocation_endpoint.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) enum GrantError {
    /// The gateway's own no: `error` of RFC 6749, 5.2, and its words.
    OAuth { error: String, text: String },
    /// No answer, or one that says to come again.
    Away(String),
    /// An answer that is none.
    Strange(String),
}

impl GrantError {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::OAuth { text, .. } | Self::Away(text) | Self::Strange(text) => text,
        }
    }
}

impl From<Away> for GrantError {
    fn from(away: Away) -> Self {
        Self::Away(away.0)
    }
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    token_type: String,
    expires_in: Option<i64>,
    refresh_token: Option<String>,
}

/// A lifetime where the gateway tells none (RFC 6749, 5.1, recommends that it does): short enough to be on the safe side.
const UNTOLD: i64 = 300;

/// Asks for tokens; what comes is ready to be kept.
pub(super) async fn ask(
    http: &Http,
    clock: &dyn Clock,
    endpoints: &Endpoints,
    fields: &[(&str, &str)],
) -> Result<Entry, GrantError> {
    // Before the question: the token may be as old as that.
    let issued_at = clock.now().seconds();
    let mut whole = vec![("client_id", CLIENT_ID)];
    whole.extend_from_slice(fields);
    let answer = http.post_form(endpoints.token.clone(), &whole).await?;
    if !answer.status.is_success() {
        return Err(refused(&answer));
    }
    let tokens: Tokens = serde_json::from_value(answer.body)
        .map_err(|_| GrantError::Strange("the gateway gave an answer that holds no token".into()))?;
    if !tokens.token_type.eq_ignore_ascii_case("bearer") {
        return Err(GrantError::Strange("the gateway gave a token of another type".into()));
    }
    let lifetime = tokens.expires_in.filter(|seconds| *seconds > 0).unwrap_or(UNTOLD);
    Ok(Entry {
        client_id: CLIENT_ID.to_owned(),
        token_endpoint: endpoints.token.to_string(),
        revocation_endpoint: endpoints.revocation.as_ref().map(Url::to_string),
        access_token: tokens.access_token,
        issued_at,
        expires_at: issued_at.saturating_add(lifetime),
        refresh_token: tokens.refresh_token,
        further: Map::new(),
    })
}

/// An answer that is no success, of any endpoint of the authorization server.
pub(super) fn refused(answer: &Answer) -> GrantError {
    let word = |name: &str| answer.body.get(name).and_then(Value::as_str);
    let error = word("error").filter(|_| answer.status.is_client_error() && answer.status.as_u16() != 429);
    match error {
        Some(error) => {
            let said = word("error_description").unwrap_or(error);
            GrantError::OAuth {
                error: error.to_owned(),
                text: format!("{}{}", brief(said), answer.clock_hint),
            }
        }
        None if answer.status.is_server_error() || answer.status.as_u16() == 429 => {
            let said = word("error_description").or_else(|| word("message"));
            GrantError::Away(format!(
                "the gateway answers {}{}",
                answer.status,
                said.map(|said| format!(": {}", brief(said))).unwrap_or_default()
            ))
        }
        None => GrantError::Strange(format!(
            "the gateway answers {}{}",
            answer.status,
            word("message")
                .map(|said| format!(": {}", brief(said)))
                .unwrap_or_default()
        )),
    }
}

/// Others' words, short and without anything that steers a terminal.
fn brief(text: &str) -> String {
    visible(&text.chars().take(300).collect::<String>())
}

/// How long to wait before the next try of a question that nobody answered; `None`: no longer.
pub(super) fn pause(tries: u32) -> Option<Duration> {
    (tries < 5).then(|| Duration::from_millis(200 << tries))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> GrantError {
        refused(&Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body,
            clock_hint: String::new(),
        })
    }

    #[test]
    fn a_no_is_told_from_a_gateway_that_is_away() {
        let no = answer(
            400,
            json!({"error": "invalid_grant", "error_description": "ended\u{1b}[2J"}),
        );
        assert!(
            matches!(&no, GrantError::OAuth { error, text } if error == "invalid_grant" && !text.contains('\u{1b}'))
        );
        assert!(matches!(
            answer(503, json!({"error": "temporarily_unavailable"})),
            GrantError::Away(_)
        ));
        assert!(matches!(
            answer(429, json!({"error": "slow_down"})),
            GrantError::Away(_)
        ));
        assert!(matches!(answer(502, Value::Null), GrantError::Away(_)));
        assert!(matches!(answer(404, Value::Null), GrantError::Strange(_)));
    }
}
