//! Sessions by the names under which their provider ends them.

use std::sync::Arc;

use crate::domain::Clock;
use crate::sessions::Session;
use crate::store::seal::digest;
use crate::store::{Sealer, Store, StoreError};

const PURPOSE: &str = "session-ending";

pub(super) struct Endings {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
}

impl Endings {
    pub(super) fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>, clock: Arc<dyn Clock>) -> Self {
        Self { store, sealer, clock }
    }

    /// For as long as the session may live.
    pub(super) async fn remember(&self, session: &Session, names: &[String]) -> Result<(), StoreError> {
        let ttl = session.expires.since(self.clock.now());
        for name in names {
            let key = format!(
                "ending:{}",
                hex::encode(digest(PURPOSE, &[name.as_bytes(), session.id.as_bytes()]))
            );
            let sealed = self.sealer.seal(PURPOSE, &key, session.id.as_bytes());
            self.store.put(&key, &sealed, ttl, Some(&owner(name))).await?;
        }
        Ok(())
    }

    /// The public ids of the sessions that any of the names stands for, each once.
    pub(super) async fn find(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        for name in names {
            for (key, sealed) in self.store.list(&owner(name)).await? {
                let id = self
                    .sealer
                    .open(PURPOSE, &key, &sealed)
                    .and_then(|id| String::from_utf8(id).ok());
                ids.extend(id.filter(|id| !ids.contains(id)));
            }
        }
        Ok(ids)
    }
}

fn owner(name: &str) -> String {
    format!("ending:{name}")
}
