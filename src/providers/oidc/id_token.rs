//! Whether an ID token is what it says: the library checks signature, audience and times, [`checks`] the rest.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, Nonce, SignatureVerificationError,
};

use super::super::ProviderError;
use super::checks::{self, Claims, SKEW};
use super::discovery::Known;
use super::failure::tame;

/// What a token must fit.
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    /// `None` at a refresh, where the provider need not repeat it.
    pub(super) nonce: Option<&'a str>,
    /// The one that came with it.
    pub(super) access_token: &'a AccessToken,
    /// Seconds since the epoch.
    pub(super) now: i64,
}

#[derive(Debug)]
pub(super) enum Invalid {
    /// Signed by a key that is not known (yet).
    UnknownKey,
    Refused(ProviderError),
}

impl From<ProviderError> for Invalid {
    fn from(error: ProviderError) -> Self {
        Self::Refused(error)
    }
}

fn refused(text: impl Into<String>) -> Invalid {
    Invalid::Refused(ProviderError::Refused(text.into()))
}

/// All of its claims.
pub(super) fn verify(token: &CoreIdToken, known: &Known, expected: &Expected<'_>) -> Result<Claims, Invalid> {
    let now = expected.now;
    let past = UNIX_EPOCH + Duration::from_secs(u64::try_from(now - SKEW).unwrap_or(0));
    let verifier = CoreIdTokenVerifier::new_public_client(
        ClientId::new(expected.client_id.to_owned()),
        known.metadata.issuer().clone(),
        known.keys.clone(),
    )
    .set_allowed_algs(known.algorithms.iter().cloned())
    .set_time_fn(move || past.into())
    .set_issue_time_verifier_fn(move |issued| match issued.timestamp() <= now + SKEW {
        true => Ok(()),
        false => Err("it is issued in the future (iat)".to_owned()),
    });
    let nonce = |given: Option<&Nonce>| match (expected.nonce, given) {
        (None, _) => Ok(()),
        (Some(sent), Some(given)) if *given.secret() == *sent => Ok(()),
        (Some(_), Some(_)) => Err("it is not the one that was sent".to_owned()),
        (Some(_), None) => Err("there is none".to_owned()),
    };
    let read = token.claims(&verifier, nonce).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            Invalid::UnknownKey
        }
        ClaimsVerificationError::SignatureVerification(cause) => {
            refused(format!("the ID token's signature: {}", tame(&cause)))
        }
        other => refused(format!("the ID token: {}", tame(&other))),
    })?;
    if let Some(given) = read.access_token_hash() {
        let key = token
            .signing_key(&verifier)
            .map_err(|_| refused("the ID token's key is gone"))?;
        let alg = token.signing_alg().map_err(|_| refused("the ID token is not signed"))?;
        let wanted = AccessTokenHash::from_token(expected.access_token, alg, key)
            .map_err(|error| refused(format!("at_hash: {}", tame(&error))))?;
        if **given != *wanted {
            return Err(refused("the ID token's at_hash is of another access token"));
        }
    }
    let claims = payload(&token.to_string()).ok_or_else(|| refused("the ID token cannot be read"))?;
    checks::id_token(&claims, known.metadata.issuer().as_str(), expected.client_id, now)?;
    Ok(claims)
}

/// The claims of a token that was verified before; nothing is verified here.
pub(super) fn payload(token: &str) -> Option<Claims> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}
