//! Why a message of an identity provider is not believed: the class first, for whoever reads the trail.

use thiserror::Error;

use crate::domain::xml::XmlError;
use crate::providers::ProviderError;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Rejected {
    /// It does not come in the form that its binding wants.
    #[error("binding: {0}")]
    Binding(&'static str),
    #[error("document: {0}")]
    Document(#[from] XmlError),
    /// Something stands in it, or is missing, that the few known shapes do not allow.
    #[error("shape: {0}")]
    Shape(&'static str),
    /// An algorithm or transform that is not on the list.
    #[error("algorithm: {0}")]
    Algorithm(&'static str),
    #[error("signature: {0}")]
    Signature(&'static str),
    /// One text for everything that can go wrong: whoever tries keys and paddings learns nothing.
    #[error("encryption: the assertion cannot be decrypted")]
    Encryption,
    #[error("status: {0}")]
    Status(String),
    /// Not for us, not from whom we asked, not now, or not asked for.
    #[error("condition: {0}")]
    Condition(&'static str),
    #[error("replay: {0}")]
    Replay(&'static str),
}

impl From<Rejected> for ProviderError {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected.to_string())
    }
}

pub(super) type Checked<T> = Result<T, Rejected>;

/// `Ok` where a condition holds.
pub(super) fn must(holds: bool, otherwise: Rejected) -> Checked<()> {
    if holds { Ok(()) } else { Err(otherwise) }
}
