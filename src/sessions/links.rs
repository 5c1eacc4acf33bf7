//! By what a provider can end sessions: names that it gave them, and the subject. Kept beside the sessions, as hashes.

use std::sync::Arc;
use std::time::Duration;

use crate::store::seal::digest;
use crate::store::vault::Id;
use crate::store::{Result, Store};

pub(super) struct Links {
    store: Arc<dyn Store>,
}

impl Links {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A link outlives an early end of its session, and leads nowhere then.
    pub(super) async fn add(&self, index: &str, id: Id, life: Duration) -> Result<()> {
        self.store.put(&format!("{index}-{id}"), b"1", life, Some(index)).await
    }

    pub(super) async fn all(&self, index: &str) -> Result<Vec<Id>> {
        let entries = self.store.list(index).await?;
        let id = |key: &str| Id::parse(key.strip_prefix(index)?.strip_prefix('-')?);
        Ok(entries.iter().filter_map(|(key, _)| id(key)).collect())
    }
}

/// Of all sessions that the provider calls by this name.
pub(super) fn by_name(provider: &str, name: &str) -> String {
    index("name", provider, name)
}

/// Of all sessions of a subject.
pub(super) fn by_subject(provider: &str, subject: &str) -> String {
    index("subject", provider, subject)
}

fn index(what: &str, provider: &str, name: &str) -> String {
    let hash = digest("session link", &[what.as_bytes(), provider.as_bytes(), name.as_bytes()]);
    format!("link:{}", hex::encode(&hash[..16]))
}
