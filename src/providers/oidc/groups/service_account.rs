//! Access tokens for a Google service account, got for an assertion that its key signs (RFC 7523).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use super::super::super::ProviderError;
use super::api::{Api, Failed};
use crate::config;
use crate::domain::{Clock, Secret, Timestamp};

/// Google names this address in assertions, wherever they are sent to.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Of an assertion; Google takes at most an hour.
const LIFE: i64 = 600;
/// A token is not used in its last minute.
const MARGIN: Duration = Duration::from_secs(60);

/// For what a token is: the scope, and as whom.
type Purpose = (&'static str, Option<String>);

pub(super) struct ServiceAccount {
    account: config::ServiceAccount,
    place: Url,
    api: Api,
    clock: Arc<dyn Clock>,
    /// With when each is not used any more. Held while asking: one question at a time.
    tokens: Mutex<HashMap<Purpose, (Secret, Timestamp)>>,
}

impl ServiceAccount {
    pub(super) fn new(account: config::ServiceAccount, place: Url, api: Api, clock: Arc<dyn Clock>) -> Self {
        Self {
            account,
            place,
            api,
            clock,
            tokens: Mutex::default(),
        }
    }

    /// A token for a scope; as somebody else where the domain lets the account do that.
    pub(super) async fn token(&self, scope: &'static str, subject: Option<&str>) -> Result<Secret, Failed> {
        let now = self.clock.now();
        let purpose = (scope, subject.map(str::to_owned));
        let mut tokens = self.tokens.lock().await;
        if let Some((token, until)) = tokens.get(&purpose)
            && now < *until
        {
            return Ok(token.clone());
        }
        let assertion = self.assertion(scope, subject, now.seconds())?;
        let form = [("grant_type", GRANT), ("assertion", &assertion)];
        let answer = self
            .api
            .post_form(&self.place, &form)
            .await
            .map_err(|failed| match failed {
                // What the account may ask is another question.
                Failed::BadToken(why) | Failed::Denied(why) => Failed::Other(ProviderError::Unavailable(why)),
                Failed::NotFound => self.api.broken("is not there"),
                Failed::Other(error) => Failed::Other(error),
            })?;
        let token = answer
            .get("access_token")
            .and_then(Value::as_str)
            .ok_or_else(|| self.api.broken("gives no access token"))?;
        let life = answer.get("expires_in").and_then(Value::as_u64).unwrap_or(0).min(3600);
        let token = Secret::new(token);
        let until = now.plus(Duration::from_secs(life).saturating_sub(MARGIN));
        tokens.insert(purpose, (token.clone(), until));
        Ok(token)
    }

    /// Forgets what it has: a token that was refused is not shown again.
    pub(super) async fn forget(&self) {
        self.tokens.lock().await.clear();
    }

    fn assertion(&self, scope: &str, subject: Option<&str>, now: i64) -> Result<String, ProviderError> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.account.key_id {
            header["kid"] = id.as_str().into();
        }
        let mut claims = json!({
            "iss": self.account.email, "scope": scope, "aud": AUDIENCE, "iat": now, "exp": now + LIFE,
        });
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = self
            .account
            .key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .and_then(|signer| signer.sign(signed.as_bytes()).ok())
            .ok_or_else(|| ProviderError::Unavailable("the service account's key does not sign".to_owned()))?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}
