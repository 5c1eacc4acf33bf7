//! Whether a logout token is what it says (OpenID Connect Back-Channel Logout 1.0, 2.6): nothing of it is believed before.

use serde_json::Value;

use super::super::jws::{self, Jws, Unsigned};
use super::super::{Ended, ProviderError};
use super::checks::{Claims, SKEW};
use super::discovery::Known;
use super::id_token::Invalid;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds. A logout token is news: with older ones refused, ids need not be remembered for longer.
const OLDEST: i64 = 600;
/// Of names that we remember.
const LONGEST_NAME: usize = 255;

impl From<Unsigned> for Invalid {
    fn from(unsigned: Unsigned) -> Self {
        match unsigned {
            Unsigned::UnknownKey => Self::UnknownKey,
            Unsigned::Unreadable | Unsigned::Algorithm | Unsigned::Critical | Unsigned::Forged => {
                refused(&unsigned.to_string())
            }
        }
    }
}

fn refused(text: &str) -> Invalid {
    Invalid::Refused(ProviderError::Refused(format!("the logout token {text}")))
}

/// Whom it is about.
pub(super) fn verify(token: &str, known: &Known, client_id: &str, now: i64) -> Result<Ended, Invalid> {
    let token = Jws::parse(token)?;
    if !known.signatures.contains(&token.algorithm()) {
        return Err(Unsigned::Algorithm.into());
    }
    // One that says what it is must be a logout token.
    if token.typ().is_some_and(|typ| typ != "logout+jwt") {
        return Err(refused("is of another type"));
    }
    let claims = token.believe(&known.signers)?;
    check(claims, known.metadata.issuer().as_str(), client_id, now)
}

fn check(claims: &Claims, issuer: &str, client_id: &str, now: i64) -> Result<Ended, Invalid> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(refused("is of another issuer (iss)"));
    }
    let for_us = match claims.get("aud") {
        Some(Value::String(audience)) => audience == client_id,
        Some(Value::Array(audiences)) => {
            !audiences.is_empty() && audiences.iter().all(|audience| audience == client_id)
        }
        _ => false,
    };
    if !for_us {
        return Err(refused("is for somebody else (aud)"));
    }
    jws::must_be_of_now(claims, now).map_err(refused)?;
    let issued = claims.get("iat").and_then(Value::as_f64);
    if !issued.is_some_and(|iat| iat >= (now - SKEW - OLDEST) as f64) {
        return Err(refused("is not of now (iat)"));
    }
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(refused("tells of no logout (events)"));
    }
    // So that no ID token can pass for one.
    if claims.contains_key("nonce") {
        return Err(refused("carries a nonce"));
    }
    let (session, subject) = (name(claims, "sid")?, name(claims, "sub")?);
    if session.is_none() && subject.is_none() {
        return Err(refused("names neither a session nor a subject (sid, sub)"));
    }
    let id = name(claims, "jti")?.ok_or_else(|| refused("has no id (jti)"))?;
    Ok(Ended { session, subject, id })
}

/// A claim that is missing, or a usable text.
fn name(claims: &Claims, claim: &str) -> Result<Option<String>, Invalid> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST_NAME => Ok(Some(text.clone())),
        Some(_) => Err(refused(&format!("has an unusable {claim}"))),
    }
}
