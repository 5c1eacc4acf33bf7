//! Keys of SAML: the identity provider's, out of its certificates, and the gateway's own pair.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use p256::ecdsa::VerifyingKey as P256;
use p384::ecdsa::VerifyingKey as P384;
use p521::ecdsa::VerifyingKey as P521;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::super::files;

/// What signatures of an identity provider are verified with. Comes from its metadata alone.
#[derive(Clone, Debug)]
pub enum IdpKey {
    /// The DER of an `RSAPublicKey`.
    Rsa(Vec<u8>),
    P256(P256),
    P384(P384),
    P521(P521),
}

impl IdpKey {
    /// The key of a certificate. Nothing else of the certificate counts: who wrote the metadata vouches for it, not an authority.
    ///
    /// # Errors
    /// When it is no certificate, or its key is too short or of a kind that is not used here.
    pub fn of_certificate(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "it is no X.509 certificate")?;
        let info = certificate.public_key();
        let key = info.parsed().map_err(|_| "its key cannot be read")?;
        match key {
            PublicKey::RSA(rsa) => match rsa.key_size() {
                2048..=8192 => Ok(Self::Rsa(info.subject_public_key.data.to_vec())),
                bits => Err(format!("its RSA key has {bits} bits; 2048 to 8192 are accepted")),
            },
            PublicKey::EC(point) => {
                let unknown = || "its elliptic curve is not P-256, P-384 or P-521".to_owned();
                let point = point.data();
                match point.len() {
                    65 => P256::from_sec1_bytes(point).map(Self::P256).map_err(|_| unknown()),
                    97 => P384::from_sec1_bytes(point).map(Self::P384).map_err(|_| unknown()),
                    133 => P521::from_sec1_bytes(point).map(Self::P521).map_err(|_| unknown()),
                    _ => Err(unknown()),
                }
            }
            _ => Err("its key is neither RSA nor of an elliptic curve".to_owned()),
        }
    }
}

/// The gateway's own pair: signs requests, decrypts assertions.
#[derive(Clone)]
pub struct SamlKey {
    pub signing: Arc<dyn SigningKey>,
    pub decrypting: Arc<rsa::PrivateKey>,
    /// DER.
    pub certificate: Vec<u8>,
}

impl fmt::Debug for SamlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SamlKey")
    }
}

impl SamlKey {
    /// # Errors
    /// Which of the two files is wrong (`key_file` or `cert_file`), and why.
    pub(super) fn read(key: &Path, certificate: &Path) -> Result<Self, (&'static str, String)> {
        let of_key = |text: String| ("key_file", text);
        let bytes = files::read(key).map_err(of_key)?;
        files::check_private(key).map_err(of_key)?;
        // The readers' own words might quote the key.
        let private = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|_| of_key(format!("{} holds no PEM private key", key.display())))?;
        let decrypting = match &private {
            PrivateKeyDer::Pkcs8(der) => rsa::PrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Pkcs1(der) => rsa::PrivateKey::from_pkcs1_der(der.secret_pkcs1_der()).ok(),
            _ => None,
        };
        let unusable = || {
            of_key(format!(
                "{} must hold an RSA key of 2048 to 4096 bits: openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj /CN=mlgate -keyout key.pem -out cert.pem",
                key.display()
            ))
        };
        let decrypting = decrypting.ok_or_else(unusable)?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&private).map_err(|_| unusable())?;
        let chain = files::certificates(certificate).map_err(|text| ("cert_file", text))?;
        let certified = CertifiedKey::new(chain, signing.clone());
        certified.keys_match().map_err(|error| {
            let text = format!(
                "{} and {} do not fit together: {error}",
                certificate.display(),
                key.display()
            );
            ("cert_file", text)
        })?;
        let first = certified.cert.first().map(|first| first.to_vec());
        Ok(Self {
            signing,
            decrypting: Arc::new(decrypting),
            certificate: first.unwrap_or_default(),
        })
    }
}
