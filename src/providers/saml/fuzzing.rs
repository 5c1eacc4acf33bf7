//! A way in for the fuzzer: everything that reads a message, the parts behind a signature too, which it could never make.

use std::path::Path;
use std::sync::Arc;

use super::canonical::canonical;
use super::message::{self, BOUNDS};
use super::response::{self, Expected, Opened};
use super::{decrypt, logout, redirect};
use crate::config::{self, IdpMetadata, MetadataSource, ProviderKind};
use crate::domain::{Random, Timestamp, xml};

/// When the seeds were made.
const NOW: i64 = 1_795_643_193;

/// The gateway that is asked.
pub struct Scene {
    expected: Expected,
    idp: Arc<IdpMetadata>,
    random: Arc<dyn Random>,
}

impl Scene {
    /// `None` where the configuration holds no SAML provider with a file.
    pub fn load(file: &Path, random: Arc<dyn Random>) -> Option<Self> {
        let config = config::load_with(file, Vec::new(), &*random).ok()?;
        let saml = config.providers.into_iter().find_map(|provider| match provider.kind {
            ProviderKind::Saml(saml) => Some(*saml),
            ProviderKind::Local(_) | ProviderKind::Oidc(_) | ProviderKind::Ldap(_) => None,
        })?;
        let MetadataSource::File(idp) = saml.metadata.clone() else {
            return None;
        };
        Some(Self {
            expected: Expected {
                acs: format!("{}/acs", saml.base),
                idp: idp.clone(),
                config: Arc::new(saml),
                now: Timestamp::from_seconds(NOW),
            },
            idp,
            random,
        })
    }
}

/// Reads a text as each kind of message. Nothing of it may panic, take long, or be believed without a signature.
///
/// # Panics
/// When a promise is broken.
#[expect(clippy::panic, reason = "a fuzzer wants to hear of it")]
pub fn message(text: &str, scene: &Scene) {
    let random = &*scene.random;
    if let Ok(Opened::Sealed(sealed)) = response::open(text, &scene.expected, random) {
        let _ = sealed.unseal(&scene.expected, random);
    }
    for is_request in [true, false] {
        let expected = logout::Expected {
            idp: &scene.idp,
            slo: "http://localhost:8080/auth/saml/idp/slo",
            now: scene.expected.now,
        };
        let _ = logout::posted(text, is_request, &expected);
        let _ = logout::redirected(text, is_request, &expected);
    }
    let _ = redirect::receive(text, &scene.idp.keys);
    let _ = message::from_base64(text);
    let _ = IdpMetadata::parse(text);
    response::read_behind_the_signature(text, &scene.expected);
    let Ok(document) = xml::read(text, BOUNDS) else { return };
    let root = document.root_element();
    let _ = decrypt::decrypt(root, &scene.expected.config.key, random);
    // What is canonical is well-formed, says the same, and stays as it is.
    let once = canonical(root, None, &[]);
    let again = std::str::from_utf8(&once)
        .ok()
        .and_then(|text| xml::read(text, UNBOUND).ok());
    let again = again.map(|document| canonical(document.root_element(), None, &[]));
    if again.as_deref() != Some(&once) {
        panic!("the canonical form is none");
    }
}

/// Escapes make a text longer.
const UNBOUND: xml::XmlBounds = xml::XmlBounds {
    size: BOUNDS.size * 8,
    ..BOUNDS
};
