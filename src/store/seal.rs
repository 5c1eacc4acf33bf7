//! Seals what rests in the store, so that a dump of it is of no use and no value passes for another.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};

use crate::domain::Random;

/// The first byte of each sealed value: how the rest is to be read.
const FORMAT: u8 = 1;
/// Format and nonce: no two sealings share these bytes, so they name one version of a value.
pub const STAMP_LEN: usize = 1 + NONCE_LEN;

/// AES-256-GCM under a key of its own for each entry, derived (HKDF-SHA256) from the secret, the purpose and the store's key.
/// So a value opens only where it was sealed: a login attempt's never as a session, one session's never as another's; and
/// random nonces never come near to repeating under one key.
pub struct Sealer {
    /// The first seals, all open.
    secrets: Vec<Prk>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} secrets)", self.secrets.len())
    }
}

impl Sealer {
    /// `secrets`: the first seals, all open; at least one.
    pub fn new(secrets: &[[u8; 32]], random: Arc<dyn Random>) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"mlgate store seal 1");
        Self {
            secrets: secrets.iter().map(|secret| salt.extract(secret)).collect(),
            random,
        }
    }

    /// `purpose` says what kind of value it is (`session`), `key` where it will stand.
    pub fn seal(&self, purpose: &str, key: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = self.random.bytes();
        let mut sealed = Vec::with_capacity(STAMP_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let place = place(purpose, key);
        let tag = self.secrets.first().and_then(|secret| {
            entry_key(secret, &place)?
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&place),
                    &mut sealed[STAMP_LEN..],
                )
                .ok()
        });
        match tag {
            Some(tag) => sealed.extend_from_slice(tag.as_ref()),
            // Nothing but a missing secret or a value of many GiB comes here: what cannot be sealed is not kept.
            None => sealed.clear(),
        }
        sealed
    }

    /// The plain bytes; `None` for anything that was not sealed for this purpose and place by one of the secrets.
    pub fn open(&self, purpose: &str, key: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&format, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if format != FORMAT {
            return None;
        }
        let place = place(purpose, key);
        self.secrets.iter().find_map(|secret| {
            let mut body = body.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = entry_key(secret, &place)?
                .open_in_place(nonce, Aad::from(&place), &mut body)
                .ok()?
                .len();
            body.truncate(length);
            Some(body)
        })
    }
}

/// The bytes of a sealed value that no other sealing shares; what `Store::replace` compares.
pub fn stamp(sealed: &[u8]) -> &[u8] {
    &sealed[..sealed.len().min(STAMP_LEN)]
}

/// SHA-256 of length-prefixed fields under a domain of its own: what a key in the store shows instead of a name.
pub fn digest(domain: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for field in std::iter::once(domain.as_bytes()).chain(fields.iter().copied()) {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Length-prefixed, so that no byte can move from one field to the next.
fn place(purpose: &str, key: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(16 + purpose.len() + key.len());
    for field in [purpose, key] {
        place.extend_from_slice(&(field.len() as u64).to_be_bytes());
        place.extend_from_slice(field.as_bytes());
    }
    place
}

fn entry_key(secret: &Prk, place: &[u8]) -> Option<LessSafeKey> {
    let info = [place];
    let key: UnboundKey = secret.expand(&info, &AES_256_GCM).ok()?.into();
    Some(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SystemRandom;

    fn sealer(secrets: &[[u8; 32]]) -> Sealer {
        Sealer::new(secrets, Arc::new(SystemRandom::new()))
    }

    #[test]
    fn a_value_opens_only_for_its_purpose_and_in_its_place() {
        let sealer = sealer(&[[1; 32]]);
        let sealed = sealer.seal("session", "session:a", b"alice");
        assert_eq!(sealer.open("session", "session:a", &sealed).unwrap(), b"alice");
        assert!(sealer.open("token", "session:a", &sealed).is_none());
        assert!(sealer.open("session", "session:b", &sealed).is_none());
        assert!(sealer.open("sessions", "ession:a", &sealed).is_none());
        assert!(sealer.open("sessionsession:", "a", &sealed).is_none());
    }

    #[test]
    fn an_edited_or_short_value_does_not_open() {
        let sealer = sealer(&[[1; 32]]);
        let sealed = sealer.seal("session", "k", b"alice");
        for position in 0..sealed.len() {
            let mut edited = sealed.clone();
            edited[position] ^= 1;
            assert!(sealer.open("session", "k", &edited).is_none(), "byte {position}");
            assert!(
                sealer.open("session", "k", &sealed[..position]).is_none(),
                "cut at {position}"
            );
        }
    }

    #[test]
    fn the_first_secret_seals_and_all_open() {
        let (old, new) = ([1; 32], [2; 32]);
        let sealed = sealer(&[old]).seal("session", "k", b"alice");
        assert!(sealer(&[new, old]).open("session", "k", &sealed).is_some());
        assert!(sealer(&[new]).open("session", "k", &sealed).is_none());
        let resealed = sealer(&[new, old]).seal("session", "k", b"alice");
        assert!(sealer(&[new]).open("session", "k", &resealed).is_some());
    }

    #[test]
    fn two_sealings_of_one_value_differ_and_show_nothing_of_it() {
        let sealer = sealer(&[[1; 32]]);
        let (one, two) = (
            sealer.seal("session", "k", b"alice"),
            sealer.seal("session", "k", b"alice"),
        );
        assert_ne!(stamp(&one), stamp(&two));
        assert!(!one.windows(5).any(|bytes| bytes == b"alice"));
    }

    #[test]
    fn without_a_secret_nothing_is_kept() {
        let none = sealer(&[]);
        assert!(none.seal("session", "k", b"alice").is_empty());
        assert!(
            none.open("session", "k", &sealer(&[[1; 32]]).seal("session", "k", b"alice"))
                .is_none()
        );
    }
}
