//! Public keys as issuers publish them (RFC 7517, 7518 and 8037): what a key may have signed follows from the key, never from a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Signatures that only the holder of a private key can make. Neither `none` nor HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Big-endian, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    fn can_sign_by(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::P256(_) => algorithm == Es256,
            Self::P384(_) => algorithm == Es384,
            Self::Ed25519(_) => algorithm == EdDsa,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    id: Option<String>,
    /// Where the issuer says so; else whatever the key's type can do.
    algorithm: Option<Algorithm>,
    pub key: PublicKey,
}

impl Jwk {
    /// Whether a token with this key id (none: any key) and algorithm may be of this key.
    pub fn fits(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        let is_meant = id.is_none_or(|id| self.id.as_deref() == Some(id));
        let agreed = self.algorithm.is_none_or(|own| own == algorithm);
        is_meant && agreed && self.key.can_sign_by(algorithm)
    }
}

/// The keys of one issuer that can be used; others in its set are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<Jwk>);

/// Far more than any issuer has; each may be tried.
const MOST_KEYS: usize = 64;
/// RSA, in bytes: 2048 to 8192 bits. Smaller ones can be broken, larger ones cost time.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
const LONGEST_EXPONENT: usize = 8;

#[derive(Deserialize)]
struct Written {
    keys: Vec<Value>,
}

impl KeySet {
    /// # Errors
    /// When it is no key set, holds a private key, or no key that can be used.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(bytes).map_err(|_| "is no JSON Web Key Set ({\"keys\": […]})".to_owned())?;
        if written.keys.len() > MOST_KEYS {
            return Err(format!("holds more than {MOST_KEYS} keys"));
        }
        if written.keys.iter().any(|key| key.get("d").is_some()) {
            return Err("holds a private key, which belongs to the issuer alone".to_owned());
        }
        let keys: Vec<_> = written.keys.iter().filter_map(jwk).collect();
        match keys.is_empty() {
            true => Err("holds no key for RS256, PS256, ES256, ES384 or EdDSA signatures".to_owned()),
            false => Ok(Self(keys)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Jwk> {
        self.0.iter()
    }
}

fn jwk(written: &Value) -> Option<Jwk> {
    let text = |name: &str| written.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    if let Some(may) = written.get("key_ops")
        && !may.as_array()?.iter().any(|may| may == "verify")
    {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let point = |size: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        let is_whole = x.len() == size && y.len() == size;
        is_whole.then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let number =
                |name: &str| bytes(name).map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect());
            let (modulus, exponent): (Vec<u8>, Vec<u8>) = (number("n")?, number("e")?);
            if !MODULUS.contains(&modulus.len()) || exponent.len() > LONGEST_EXPONENT {
                return None;
            }
            PublicKey::Rsa { modulus, exponent }
        }
        ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
        ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
        _ => return None,
    };
    let algorithm = match written.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::parse(name.as_str()?).filter(|algorithm| key.can_sign_by(*algorithm))?),
    };
    Some(Jwk {
        id: text("kid").map(str::to_owned),
        algorithm,
        key,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rsa(bytes: usize) -> Value {
        json!({"kty": "RSA", "kid": "one", "n": URL_SAFE_NO_PAD.encode(vec![0xc1; bytes]), "e": "AQAB"})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn read(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_says_what_it_may_have_signed() {
        let set = read(&[rsa(256)]).unwrap();
        let key = set.iter().next().unwrap();
        assert!(key.fits(Some("one"), Algorithm::Rs256) && key.fits(None, Algorithm::Ps512));
        assert!(!key.fits(Some("two"), Algorithm::Rs256) && !key.fits(Some("one"), Algorithm::Es256));
        let set = read(&[with(rsa(256), "alg", json!("RS256"))]).unwrap();
        let key = set.iter().next().unwrap();
        assert!(key.fits(Some("one"), Algorithm::Rs256) && !key.fits(Some("one"), Algorithm::Rs512));
        let nameless = read(&[with(rsa(256), "kid", json!(null))]).unwrap();
        assert!(!nameless.iter().next().unwrap().fits(Some("one"), Algorithm::Rs256));
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let half = json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"});
        for useless in [
            rsa(255),
            rsa(1025),
            with(rsa(256), "e", json!("AQABAQABAQABAQAB")),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "alg", json!("HS256")),
            with(rsa(256), "alg", json!("ES256")),
            with(rsa(256), "alg", json!(7)),
            with(rsa(256), "key_ops", json!(["encrypt"])),
            with(rsa(256), "n", json!("%")),
            half,
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            json!({"kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([1; 32])}),
            json!(7),
        ] {
            assert!(read(std::slice::from_ref(&useless)).is_err(), "{useless}");
            assert_eq!(read(&[useless, rsa(256)]).unwrap().iter().count(), 1);
        }
    }

    #[test]
    fn what_is_no_set_of_public_keys_is_refused() {
        for text in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[]}"] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(&vec![rsa(256); 65]).unwrap_err().contains("64"));
        assert!(
            read(&[with(rsa(256), "d", json!("x"))])
                .unwrap_err()
                .contains("private")
        );
    }
}
