//! Encrypted assertions: RSA-OAEP for the key, AES in CBC or GCM for the content. RSA 1.5 is not there at all.

use std::convert::Infallible;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use aes::{Aes128, Aes256};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use roxmltree::Node;
use rsa::oaep::Oaep;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::sha2::Sha256;
use rsa::traits::PaddingScheme;
use sha1::Sha1;
use zeroize::Zeroizing;

use super::message::{DSIG, attributes_are, no_loose_text, part, sequence};
use super::rejected::{Checked, Rejected, must};
use super::signature::base64_of;
use crate::config::SamlKey;
use crate::domain::Random;
use crate::domain::xml;

const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
const ELEMENT: &str = "http://www.w3.org/2001/04/xmlenc#Element";
const BLOCK: usize = 16;

/// The text of the element that was encrypted.
pub(super) fn decrypt(encrypted: Node<'_, '_>, key: &SamlKey, random: &dyn Random) -> Checked<Zeroizing<String>> {
    let found = Found::in_assertion(encrypted)?;
    let length = found.content.key_length();
    // A key that cannot be unwrapped is made up, and fails later like a wrong one: how far it came tells nothing.
    let mut content_key = Zeroizing::new(vec![0; length]);
    random.fill(&mut content_key);
    if let Ok(unwrapped) = found.transport.unwrap(key, &found.wrapped_key, random)
        && unwrapped.len() == length
    {
        content_key.copy_from_slice(&unwrapped);
    }
    let plain = found.content.decrypt(&content_key, &found.content_bytes);
    let plain = plain.ok_or(Rejected::Encryption)?;
    let text = std::str::from_utf8(&plain).map_err(|_| Rejected::Encryption)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The parts of an `EncryptedAssertion`.
struct Found {
    transport: Transport,
    wrapped_key: Vec<u8>,
    content: Content,
    content_bytes: Vec<u8>,
}

impl Found {
    fn in_assertion(encrypted: Node<'_, '_>) -> Checked<Self> {
        const SHAPE: &str = "an encrypted assertion that is not one piece of data and one key";
        attributes_are(encrypted, &[])?;
        let beside = [part(XENC, "EncryptedData", 1, 1), part(XENC, "EncryptedKey", 0, 1)];
        sequence(encrypted, &beside, SHAPE)?;
        let one = |parent, namespace, name| xml::only(parent, namespace, name).ok_or(Rejected::Shape(SHAPE));
        let data = one(encrypted, XENC, "EncryptedData")?;
        attributes_are(data, &["Id", "Type", "MimeType", "Encoding"])?;
        must(
            data.attribute("Type").is_none_or(|kind| kind == ELEMENT),
            Rejected::Shape(SHAPE),
        )?;
        let parts = [
            part(XENC, "EncryptionMethod", 1, 1),
            part(DSIG, "KeyInfo", 0, 1),
            part(XENC, "CipherData", 1, 1),
        ];
        sequence(data, &parts, SHAPE)?;
        // The key stands in the data or beside it. A pointer from one to the other is not followed: there is only one.
        let inside = xml::only(data, DSIG, "KeyInfo").and_then(|info| xml::only(info, XENC, "EncryptedKey"));
        let key = match (inside, xml::only(encrypted, XENC, "EncryptedKey")) {
            (Some(key), None) | (None, Some(key)) => key,
            _ => return Err(Rejected::Shape(SHAPE)),
        };
        let keys = encrypted
            .descendants()
            .filter(|node| xml::is_named(*node, XENC, "EncryptedKey"));
        must(keys.count() == 1, Rejected::Shape(SHAPE))?;
        Ok(Self {
            transport: Transport::read(one(key, XENC, "EncryptionMethod")?)?,
            wrapped_key: cipher_value(key)?,
            content: Content::read(one(data, XENC, "EncryptionMethod")?)?,
            content_bytes: cipher_value(data)?,
        })
    }
}

/// The bytes themselves. A `CipherReference`, which would have to be fetched, is another shape.
fn cipher_value(parent: Node<'_, '_>) -> Checked<Vec<u8>> {
    const SHAPE: &str = "encrypted data without its bytes";
    let data = xml::only(parent, XENC, "CipherData").ok_or(Rejected::Shape(SHAPE))?;
    sequence(data, &[part(XENC, "CipherValue", 1, 1)], SHAPE)?;
    xml::only(data, XENC, "CipherValue")
        .and_then(base64_of)
        .ok_or(Rejected::Shape(SHAPE))
}

/// How the key of the content is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transport {
    digest: OaepHash,
    mask: OaepHash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OaepHash {
    Sha1,
    Sha256,
}

impl Transport {
    fn read(method: Node<'_, '_>) -> Checked<Self> {
        let refused = Rejected::Algorithm("the key is not wrapped by RSA-OAEP with SHA-1 or SHA-256");
        attributes_are(method, &["Algorithm"])?;
        no_loose_text(method)?;
        let (has_mask, default) = match method.attribute("Algorithm") {
            Some("http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p") => (false, OaepHash::Sha1),
            Some("http://www.w3.org/2009/xmlenc11#rsa-oaep") => (true, OaepHash::Sha1),
            _ => return Err(refused),
        };
        let mut transport = Self {
            digest: default,
            mask: default,
        };
        for parameter in xml::elements(method) {
            let name = parameter.attribute("Algorithm").unwrap_or_default();
            if xml::is_named(parameter, DSIG, "DigestMethod") {
                transport.digest = match name {
                    "http://www.w3.org/2000/09/xmldsig#sha1" => OaepHash::Sha1,
                    "http://www.w3.org/2001/04/xmlenc#sha256" => OaepHash::Sha256,
                    _ => return Err(refused),
                };
            } else if has_mask && xml::is_named(parameter, XENC11, "MGF") {
                transport.mask = match name {
                    "http://www.w3.org/2009/xmlenc11#mgf1sha1" => OaepHash::Sha1,
                    "http://www.w3.org/2009/xmlenc11#mgf1sha256" => OaepHash::Sha256,
                    _ => return Err(refused),
                };
            } else {
                return Err(refused);
            }
        }
        Ok(transport)
    }

    fn unwrap(self, key: &SamlKey, wrapped: &[u8], random: &dyn Random) -> rsa::Result<Zeroizing<Vec<u8>>> {
        // Blinded: the time that it takes is not about the key.
        let rng = Some(&mut Blinding(random));
        let key = &*key.decrypting;
        let plain = match (self.digest, self.mask) {
            (OaepHash::Sha1, OaepHash::Sha1) => Oaep::<Sha1, Sha1>::new_with_mgf_hash().decrypt(rng, key, wrapped),
            (OaepHash::Sha1, OaepHash::Sha256) => Oaep::<Sha1, Sha256>::new_with_mgf_hash().decrypt(rng, key, wrapped),
            (OaepHash::Sha256, OaepHash::Sha1) => Oaep::<Sha256, Sha1>::new_with_mgf_hash().decrypt(rng, key, wrapped),
            (OaepHash::Sha256, OaepHash::Sha256) => {
                Oaep::<Sha256, Sha256>::new_with_mgf_hash().decrypt(rng, key, wrapped)
            }
        };
        plain.map(Zeroizing::new)
    }
}

/// How the content is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Aes128Cbc,
    Aes256Cbc,
    Aes128Gcm,
    Aes256Gcm,
}

impl Content {
    fn read(method: Node<'_, '_>) -> Checked<Self> {
        attributes_are(method, &["Algorithm"])?;
        no_loose_text(method)?;
        match method.attribute("Algorithm").unwrap_or_default() {
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc" => Ok(Self::Aes128Cbc),
            "http://www.w3.org/2001/04/xmlenc#aes256-cbc" => Ok(Self::Aes256Cbc),
            "http://www.w3.org/2009/xmlenc11#aes128-gcm" => Ok(Self::Aes128Gcm),
            "http://www.w3.org/2009/xmlenc11#aes256-gcm" => Ok(Self::Aes256Gcm),
            _ => Err(Rejected::Algorithm(
                "the content is not encrypted by AES-128 or AES-256 in CBC or GCM",
            )),
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes128Cbc | Self::Aes128Gcm => 16,
            Self::Aes256Cbc | Self::Aes256Gcm => 32,
        }
    }

    fn decrypt(self, key: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Aes128Cbc => chained::<cbc::Decryptor<Aes128>>(key, bytes),
            Self::Aes256Cbc => chained::<cbc::Decryptor<Aes256>>(key, bytes),
            Self::Aes128Gcm => sealed(&AES_128_GCM, key, bytes),
            Self::Aes256Gcm => sealed(&AES_256_GCM, key, bytes),
        }
    }
}

/// CBC: the first block starts the chain; the last byte says how long the padding is, whatever else stands in it.
fn chained<D: KeyIvInit + BlockModeDecrypt>(key: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (start, content) = bytes.split_at_checked(BLOCK)?;
    let mut plain = Zeroizing::new(content.to_vec());
    D::new_from_slices(key, start)
        .ok()?
        .decrypt_padded::<NoPadding>(&mut plain)
        .ok()?;
    let padding = usize::from(*plain.last()?);
    let length = plain
        .len()
        .checked_sub(padding)
        .filter(|_| (1..=BLOCK).contains(&padding))?;
    plain.truncate(length);
    Some(plain)
}

fn sealed(algorithm: &'static Algorithm, key: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, content) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = Zeroizing::new(content.to_vec());
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

/// Our randomness in the form that `rsa` wants.
struct Blinding<'r>(&'r dyn Random);

impl TryRng for Blinding<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(self.0.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(self.0.bytes()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Blinding<'_> {}
