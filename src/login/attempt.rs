//! A sign-in on its way through an identity provider: kept sealed for ten minutes, taken once, by the browser that began it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::{Random, Secret};
use crate::store::seal::digest;
use crate::store::{Sealer, Store, StoreError};

use super::ReturnTo;

/// As long as a person may take at the provider.
const LIFETIME: Duration = Duration::from_secs(600);

/// The random id of a browser that is signing in, from the login cookie. One for all of its tabs and attempts.
#[derive(Clone, Debug)]
pub struct Browser(Secret);

impl Browser {
    pub fn new(random: &dyn Random) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(random.bytes::<32>())))
    }

    /// The id in a cookie's value; `None` for anything that we cannot have set.
    pub fn parse(cookie: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        (bytes.len() == 32).then(|| Self(Secret::new(cookie)))
    }

    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

/// What is remembered until the browser comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// The provider's own: nonce, PKCE verifier, …
    pub(super) memory: String,
    pub(super) return_to: ReturnTo,
    /// The session whose groups grew old, where the browser came for that.
    #[serde(default)]
    pub(super) renews: Option<String>,
}

pub(super) struct Attempts {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
}

impl Attempts {
    pub(super) fn new(store: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer }
    }

    pub(super) async fn keep(
        &self,
        provider: &str,
        browser: &Browser,
        state: &Secret,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        let key = key(provider, browser, state.expose());
        let plain = serde_json::to_vec(attempt).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.store
            .put(&key, &self.sealer.seal(PURPOSE, &key, &plain), LIFETIME, None)
            .await
    }

    /// The attempt, which is gone then. `None` for a state that this browser did not bring to this provider, or not lately,
    /// or that came before.
    pub(super) async fn take(
        &self,
        provider: &str,
        browser: &Browser,
        state: &str,
    ) -> Result<Option<Attempt>, StoreError> {
        let key = key(provider, browser, state);
        let Some(sealed) = self.store.take(&key).await? else {
            return Ok(None);
        };
        let plain = self.sealer.open(PURPOSE, &key, &sealed);
        Ok(plain.and_then(|plain| serde_json::from_slice(&plain).ok()))
    }
}

const PURPOSE: &str = "login-attempt";

/// Provider and browser are part of the key: a state that leaked is of no use to another browser, not even to spoil it.
fn key(provider: &str, browser: &Browser, state: &str) -> String {
    let fields = [provider.as_bytes(), browser.as_str().as_bytes(), state.as_bytes()];
    format!("login:{}", hex::encode(digest(PURPOSE, &fields)))
}
