//! An issuer's keys: fetched beside all requests, kept, and looked up once more for a key id that is new, at most once in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::header::ACCEPT;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::config::{IssuerKeys, TrustedIssuer};
use crate::domain::{Clock, KeySet, Timestamp};
use crate::outbound::provider::{Bounds, ProviderClient, is_plain_loopback};

/// A new key is known this long after it was published, at the latest.
const REFRESH: Duration = Duration::from_secs(300);
/// Whatever comes in, keys are looked up no oftener.
const PAUSE: Duration = Duration::from_secs(30);
/// Where nothing is known yet, and nobody's request is the reason.
const RETRY: Duration = Duration::from_secs(5);
/// A request whose key may be new waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that could not be asked for again for so long are not believed any more.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// What was fetched last from each place; outlives a reload.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<String, Arc<State>>>);

#[derive(Default)]
struct State {
    known: ArcSwapOption<Known>,
    looking: Mutex<Looking>,
}

#[derive(Default)]
struct Looking {
    last: Option<Timestamp>,
    flight: Option<Flight>,
    /// Why the last look-up gave nothing.
    trouble: Option<String>,
}

type Flight = Shared<BoxFuture<'static, ()>>;

pub(super) struct Known {
    pub(super) keys: Arc<KeySet>,
    at: Timestamp,
}

pub(super) enum Keys {
    /// Read with the configuration.
    File(Arc<KeySet>),
    Fetched(Box<Remote>),
}

pub(super) struct Remote {
    place: Arc<Place>,
    state: Arc<State>,
    clock: Arc<dyn Clock>,
}

struct Place {
    issuer: String,
    /// `None`: the issuer says where.
    url: Option<Url>,
    client: ProviderClient,
}

impl KeyCache {
    fn state(&self, name: String) -> Arc<State> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.entry(name).or_default().clone()
    }

    /// Forgets what no configuration uses any more.
    pub(super) fn tidy(&self) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, state| Arc::strong_count(state) > 1);
    }
}

impl Keys {
    /// # Errors
    /// When the CA file cannot be used.
    pub(super) fn new(
        config: &TrustedIssuer,
        cache: &KeyCache,
        clock: &Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Result<Self, String> {
        let url = match &config.keys {
            IssuerKeys::File(keys) => return Ok(Self::File(keys.clone())),
            IssuerKeys::Url(url) => Some(url.clone()),
            IssuerKeys::Discovered => None,
        };
        let asked = match &url {
            Some(url) => url.clone(),
            None => Url::parse(&config.issuer).map_err(|error| format!("issuer: {error}"))?,
        };
        let roots = match &config.ca_file {
            Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
            None => Vec::new(),
        };
        // What was fetched believing other roots is not what these roots vouch for.
        let name = format!("{} {asked} {}", config.issuer, hex::encode(Sha256::digest(&roots)));
        Ok(Self::Fetched(Box::new(Remote {
            place: Arc::new(Place {
                issuer: config.issuer.clone(),
                url,
                client: ProviderClient::new(config.ca_file.as_deref(), is_plain_loopback(&asked), bounds)?,
            }),
            state: cache.state(name),
            clock: clock.clone(),
        })))
    }

    /// What is known; where nothing is, it is waited for. `None` where the issuer cannot be asked.
    pub(super) async fn current(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::File(keys) => Some(keys.clone()),
            Self::Fetched(remote) => match remote.known() {
                Some(known) => Some(known.keys.clone()),
                None => {
                    remote.look(PAUSE).await;
                    remote.known().map(|known| known.keys.clone())
                }
            },
        }
    }

    /// Other keys than those, after a key id that is not among them; `None` where there are none to be had now.
    pub(super) async fn newer(&self, than: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let Self::Fetched(remote) = self else { return None };
        let newer = || {
            let known = remote.known()?;
            (!Arc::ptr_eq(&known.keys, than)).then(|| known.keys.clone())
        };
        if let Some(keys) = newer() {
            return Some(keys);
        }
        remote.look(PAUSE).await;
        newer()
    }

    /// Starts a look-up where it is time; waits for nobody.
    pub(super) fn refresh(&self) {
        let Self::Fetched(remote) = self else { return };
        let pause = if remote.known().is_some() { REFRESH } else { RETRY };
        drop(remote.start(pause));
    }

    /// Why there are no keys, where there are none.
    pub(super) fn trouble(&self) -> Option<String> {
        let Self::Fetched(remote) = self else { return None };
        let looking = remote.state.looking.lock().unwrap_or_else(PoisonError::into_inner);
        looking.trouble.clone()
    }
}

impl Remote {
    fn known(&self) -> Option<Arc<Known>> {
        let now = self.clock.now();
        self.state
            .known
            .load_full()
            .filter(|known| now.since(known.at) < BELIEVED)
    }

    async fn look(&self, pause: Duration) {
        if let Some(flight) = self.start(pause) {
            // Who is too slow is asked on in the background.
            let _ = tokio::time::timeout(PATIENCE, flight).await;
        }
    }

    /// The look-up that is under way, or a new one where the last is so long ago.
    fn start(&self, pause: Duration) -> Option<Flight> {
        let now = self.clock.now();
        let mut looking = self.state.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &looking.flight
            && flight.peek().is_none()
        {
            return Some(flight.clone());
        }
        if looking.last.is_some_and(|last| now.since(last) < pause) {
            return None;
        }
        looking.last = Some(now);
        let flight = look_up(self.place.clone(), self.state.clone(), self.clock.clone())
            .boxed()
            .shared();
        looking.flight = Some(flight.clone());
        drop(looking);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(flight.clone());
        }
        Some(flight)
    }
}

async fn look_up(place: Arc<Place>, state: Arc<State>, clock: Arc<dyn Clock>) {
    let fetched = place.fetch().await;
    let trouble = match fetched {
        Ok(keys) => {
            // The same keys stay the same thing, by which others know that nothing changed.
            let before = state.known.load_full().map(|known| known.keys.clone());
            let keys = before
                .filter(|before| **before == keys)
                .unwrap_or_else(|| Arc::new(keys));
            let at = clock.now();
            state.known.store(Some(Arc::new(Known { keys, at })));
            None
        }
        Err(error) => {
            tracing::warn!(
                issuer = place.issuer,
                error,
                "keys cannot be had; what was good last stays"
            );
            Some(error)
        }
    };
    state.looking.lock().unwrap_or_else(PoisonError::into_inner).trouble = trouble;
}

/// Of OpenID Connect Discovery 1.0, section 3, all that issuers for workloads have in common.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

impl Place {
    async fn fetch(&self) -> Result<KeySet, String> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        KeySet::read(&self.get(url.as_str()).await?).map_err(|text| format!("{place} {text}"))
    }

    async fn discover(&self) -> Result<Url, String> {
        let at = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = serde_json::from_slice(&self.get(&at).await?)
            .map_err(|_| "the discovery document cannot be read, or names no jwks_uri".to_owned())?;
        if metadata.issuer != self.issuer {
            return Err("the discovery document is of another issuer".to_owned());
        }
        Ok(metadata.jwks_uri)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let request = http::Request::get(url)
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request).await.map_err(|error| error.to_string())?;
        match answer.status() {
            http::StatusCode::OK => Ok(answer.into_body()),
            status => Err(format!("the issuer answers {status}")),
        }
    }
}
