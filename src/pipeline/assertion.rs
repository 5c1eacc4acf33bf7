//! Who is asking, as MLflow's side may check it: a signed JWT of 60 s, and the keys that it is checked with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::domain::{Identity, Timestamp};

/// Seconds that an assertion holds.
const LIFETIME: i64 = 60;

/// The keys of all session secrets: every replica derives the same ones. The first signs.
pub struct Assertions {
    issuer: String,
    keys: Vec<Key>,
}

struct Key {
    id: String,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Assertions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertions")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Assertions {
    /// `issuer` is `public_url`; `secrets` are the session secrets, of which there is at least one.
    pub fn new(issuer: &str, secrets: &[[u8; 32]]) -> Self {
        let keys = secrets.iter().filter_map(Key::derive).collect();
        Self {
            issuer: issuer.to_owned(),
            keys,
        }
    }

    /// The JWT for one upstream. Empty where there is no key.
    pub fn sign(&self, identity: &Identity, roles: &[String], upstream: &str, now: Timestamp) -> String {
        let Some(key) = self.keys.first() else {
            return String::new();
        };
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": key.id});
        let claims = json!({
            "iss": self.issuer,
            "aud": upstream,
            "sub": format!("{}:{}", identity.provider, identity.subject),
            "provider": identity.provider,
            "preferred_username": identity.user,
            "name": identity.display_name,
            "email": identity.email,
            "groups": identity.groups,
            "roles": roles,
            "iat": now.seconds(),
            "exp": now.seconds() + LIFETIME,
        });
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = key.pair.sign(token.as_bytes());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature.as_ref()));
        token
    }

    /// The public keys as a JWK set (RFC 8037), those that are being rotated out included.
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id,
                    "x": URL_SAFE_NO_PAD.encode(key.pair.public_key().as_ref()),
                })
            })
            .collect();
        json!({ "keys": keys })
    }
}

impl Key {
    fn derive(secret: &[u8; 32]) -> Option<Self> {
        let salt = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"mlgate");
        let mut seed = [0; 32];
        salt.extract(secret)
            .expand(&[b"assertion ed25519"], ring::hkdf::HKDF_SHA256)
            .ok()?
            .fill(&mut seed)
            .ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let digest = ring::digest::digest(&ring::digest::SHA256, pair.public_key().as_ref());
        Some(Self {
            id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12]),
            pair,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            provider: "local".into(),
            subject: "alice".into(),
            user: "alice".into(),
            display_name: None,
            email: None,
            groups: vec!["ml".into()],
            authenticated_at: Timestamp::from_seconds(0),
        }
    }

    fn verify(token: &str, jwks: &serde_json::Value) -> Option<serde_json::Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let read = |part| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let kid = read(header)?["kid"].clone();
        let key = jwks["keys"].as_array()?.iter().find(|key| key["kid"] == kid)?;
        let key = URL_SAFE_NO_PAD.decode(key["x"].as_str()?).ok()?;
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        read(claims)
    }

    #[test]
    fn an_assertion_verifies_with_the_published_keys_of_every_replica_and_no_other() {
        let here = Assertions::new("https://m.example", &[[1; 32]]);
        let rotating = Assertions::new("https://m.example", &[[2; 32], [1; 32]]);
        let foreign = Assertions::new("https://m.example", &[[3; 32]]);
        let token = here.sign(
            &identity(),
            &["viewer".into()],
            "production",
            Timestamp::from_seconds(100),
        );
        let claims = verify(&token, &rotating.jwks()).unwrap();
        assert_eq!(claims["aud"], "production");
        assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(100), Some(160)));
        assert!(verify(&token, &foreign.jwks()).is_none());
    }
}
