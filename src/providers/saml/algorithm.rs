//! The algorithms that are accepted, by their names in XML Signature. What is not here is refused.

use p256::ecdsa::Signature as P256Signature;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p384::ecdsa::Signature as P384Signature;
use p521::ecdsa::Signature as P521Signature;
use ring::digest;
use ring::signature::{self, UnparsedPublicKey};

use super::rejected::{Checked, Rejected};
use crate::config::IdpKey;

pub(super) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
pub(super) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
pub(super) const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
pub(super) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn named(name: &str) -> Checked<Self> {
        match name {
            SHA256 => Ok(Self::Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => Ok(Self::Sha384),
            "http://www.w3.org/2001/04/xmlenc#sha512" => Ok(Self::Sha512),
            _ => Err(Rejected::Algorithm("the digest is not SHA-256, SHA-384 or SHA-512")),
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// How a signature was made: the kind of key and the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Rsa(Hash),
    Ecdsa(Hash),
}

impl Method {
    pub(super) fn named(name: &str) -> Checked<Self> {
        let refused = Rejected::Algorithm("the signature is not RSA or ECDSA with SHA-256, SHA-384 or SHA-512");
        let name = name
            .strip_prefix("http://www.w3.org/2001/04/xmldsig-more#")
            .ok_or(refused.clone())?;
        match name {
            "rsa-sha256" => Ok(Self::Rsa(Hash::Sha256)),
            "rsa-sha384" => Ok(Self::Rsa(Hash::Sha384)),
            "rsa-sha512" => Ok(Self::Rsa(Hash::Sha512)),
            "ecdsa-sha256" => Ok(Self::Ecdsa(Hash::Sha256)),
            "ecdsa-sha384" => Ok(Self::Ecdsa(Hash::Sha384)),
            "ecdsa-sha512" => Ok(Self::Ecdsa(Hash::Sha512)),
            _ => Err(refused),
        }
    }

    /// Whether one of the keys made the signature. The message never says which.
    pub(super) fn verify(self, keys: &[IdpKey], message: &[u8], signature: &[u8]) -> Checked<()> {
        match keys.iter().any(|key| self.fits(key, message, signature)) {
            true => Ok(()),
            false => Err(Rejected::Signature("it was made by no key of the provider's metadata")),
        }
    }

    fn fits(self, key: &IdpKey, message: &[u8], signature: &[u8]) -> bool {
        match (self, key) {
            (Self::Rsa(hash), IdpKey::Rsa(key)) => {
                let algorithm = match hash {
                    Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                UnparsedPublicKey::new(algorithm, key)
                    .verify(message, signature)
                    .is_ok()
            }
            (Self::Ecdsa(hash), IdpKey::P256(key)) => P256Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(hash.of(message).as_ref(), &signature).is_ok()),
            (Self::Ecdsa(hash), IdpKey::P384(key)) => P384Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(hash.of(message).as_ref(), &signature).is_ok()),
            (Self::Ecdsa(hash), IdpKey::P521(key)) => P521Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_prehash(hash.of(message).as_ref(), &signature).is_ok()),
            (Self::Rsa(_), IdpKey::P256(_) | IdpKey::P384(_) | IdpKey::P521(_)) | (Self::Ecdsa(_), IdpKey::Rsa(_)) => {
                false
            }
        }
    }
}
