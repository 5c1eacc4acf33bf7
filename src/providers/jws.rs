//! Signed tokens (RFC 7515, compact form; RFC 7519): taken apart without believing anything, and believed once a key of the
//! issuer's is seen to have signed them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::domain::{Algorithm, KeySet, PublicKey};

pub(super) type Claims = Map<String, Value>;

/// How far clocks may be apart, in seconds.
pub(super) const SKEW: i64 = 60;

/// Of tokens that come from strangers, in bytes.
pub(super) const LONGEST: usize = 16 << 10;

/// Why a token is nobody's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unsigned {
    #[error("is no signed token")]
    Unreadable,
    #[error("is not signed in a way that is accepted")]
    Algorithm,
    #[error("demands what is not understood (crit)")]
    Critical,
    #[error("is signed by an unknown key")]
    UnknownKey,
    #[error("has a signature that does not hold")]
    Forged,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

pub(super) struct Jws<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    typ: Option<String>,
    signed: &'t str,
    signature: Vec<u8>,
    claims: Claims,
}

impl<'t> Jws<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, Unsigned> {
        if token.len() > LONGEST {
            return Err(Unsigned::Unreadable);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Unsigned::Unreadable);
        let (signed, signature) = token.rsplit_once('.').ok_or(Unsigned::Unreadable)?;
        let (head, body) = signed.split_once('.').ok_or(Unsigned::Unreadable)?;
        let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| Unsigned::Unreadable)?;
        let algorithm = Algorithm::parse(&header.alg).ok_or(Unsigned::Algorithm)?;
        if header.crit.is_some() {
            return Err(Unsigned::Critical);
        }
        Ok(Self {
            algorithm,
            key_id: header.kid,
            typ: header.typ,
            signed,
            signature: decode(signature)?,
            claims: serde_json::from_slice(&decode(body)?).map_err(|_| Unsigned::Unreadable)?,
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it says it is, in lower case and without `application/` (RFC 7515, 4.1.9).
    pub(super) fn typ(&self) -> Option<String> {
        let typ = self.typ.as_deref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").unwrap_or(&typ).to_owned())
    }

    /// Whom it says it is from: to find the keys by, and for nothing else.
    pub(super) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Claims that nobody vouches for, but who believed this very token before.
    pub(super) fn unverified(&self) -> &Claims {
        &self.claims
    }

    /// All claims, once one of these keys is seen to have signed them.
    pub(super) fn believe(&self, keys: &KeySet) -> Result<&Claims, Unsigned> {
        let mut verdict = Unsigned::UnknownKey;
        for key in keys
            .iter()
            .filter(|key| key.fits(self.key_id.as_deref(), self.algorithm))
        {
            if holds(&key.key, self.algorithm, self.signed.as_bytes(), &self.signature) {
                return Ok(&self.claims);
            }
            verdict = Unsigned::Forged;
        }
        Err(verdict)
    }
}

/// RFC 7519, 4.1.4 to 4.1.6; a token without an end or a beginning is none.
pub(super) fn must_be_of_now(claims: &Claims, now: i64) -> Result<(), &'static str> {
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (latest, earliest) = ((now + SKEW) as f64, (now - SKEW) as f64);
    if !time("exp").is_some_and(|exp| exp > earliest) {
        return Err("has expired, or does not say when it will (exp)");
    }
    if !time("iat").is_some_and(|iat| iat <= latest) {
        return Err("is not of now (iat)");
    }
    if claims.contains_key("nbf") && !time("nbf").is_some_and(|nbf| nbf <= latest) {
        return Err("is not valid yet (nbf)");
    }
    Ok(())
}

fn holds(key: &PublicKey, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
    let verdict = match key {
        PublicKey::Rsa { modulus, exponent } => {
            let by = match algorithm {
                Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
                Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
                Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
                Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
                Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return false,
            };
            let (n, e) = (modulus, exponent);
            RsaPublicKeyComponents { n, e }.verify(by, signed, signature)
        }
        PublicKey::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature),
        PublicKey::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(signed, signature),
        PublicKey::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(signed, signature),
    };
    verdict.is_ok()
}
