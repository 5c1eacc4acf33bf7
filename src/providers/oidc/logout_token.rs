//! Whether a logout token is what it says (OpenID Connect Back-Channel Logout 1.0, 2.6): nothing of it is believed before.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey, JsonWebKeyAlgorithm};
use serde::Deserialize;
use serde_json::Value;

use super::super::{Ended, ProviderError};
use super::checks::{Claims, SKEW};
use super::discovery::Known;
use super::id_token::Invalid;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds. A logout token is news: with older ones refused, ids need not be remembered for longer.
const OLDEST: i64 = 600;
/// Of names that we remember.
const LONGEST_NAME: usize = 255;

#[derive(Deserialize)]
struct Header {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

fn refused(text: &str) -> Invalid {
    Invalid::Refused(ProviderError::Refused(format!("the logout token {text}")))
}

/// Whom it is about.
pub(super) fn verify(token: &str, known: &Known, client_id: &str, now: i64) -> Result<Ended, Invalid> {
    let claims = signed(token, known)?;
    check(&claims, known.metadata.issuer().as_str(), client_id, now)
}

/// The claims, once a key of the issuer's is seen to have signed them.
fn signed(token: &str, known: &Known) -> Result<Claims, Invalid> {
    let unreadable = || refused("is no signed token");
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| unreadable());
    let (signed, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
    let (head, body) = signed.split_once('.').ok_or_else(unreadable)?;
    let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| unreadable())?;
    if !known.algorithms.contains(&header.alg) {
        return Err(refused("is not signed in a way that is accepted"));
    }
    // One that says what it is must be a logout token.
    if header.typ.as_deref().is_some_and(|typ| !is_logout(typ)) {
        return Err(refused("is of another type"));
    }
    if header.crit.is_some() {
        return Err(refused("demands what is not understood (crit)"));
    }
    let fitting: Vec<_> = known.keys.keys().iter().filter(|key| fits(key, &header)).collect();
    if fitting.is_empty() {
        return Err(Invalid::UnknownKey);
    }
    let signature = decode(signature)?;
    let holds = |key: &&CoreJsonWebKey| key.verify_signature(&header.alg, signed.as_bytes(), &signature).is_ok();
    if !fitting.iter().any(holds) {
        return Err(refused("has a signature that does not hold"));
    }
    serde_json::from_slice(&decode(body)?).map_err(|_| unreadable())
}

fn is_logout(typ: &str) -> bool {
    typ.strip_prefix("application/")
        .unwrap_or(typ)
        .eq_ignore_ascii_case("logout+jwt")
}

fn fits(key: &CoreJsonWebKey, header: &Header) -> bool {
    let named = match (&header.kid, key.key_id()) {
        (Some(wanted), Some(id)) => wanted == id.as_str(),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let signs = key.key_use().is_none_or(|usage| *usage == CoreJsonWebKeyUse::Signature);
    let alike = match key.signing_alg() {
        JsonWebKeyAlgorithm::Algorithm(alg) => *alg == header.alg,
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    named && signs && alike
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
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (latest, earliest) = ((now + SKEW) as f64, (now - SKEW) as f64);
    if !time("exp").is_some_and(|exp| exp > earliest) {
        return Err(refused("has expired, or does not say when it will (exp)"));
    }
    if !time("iat").is_some_and(|iat| iat <= latest && iat >= earliest - OLDEST as f64) {
        return Err(refused("is not of now (iat)"));
    }
    if claims.contains_key("nbf") && !time("nbf").is_some_and(|nbf| nbf <= latest) {
        return Err(refused("is not valid yet (nbf)"));
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
