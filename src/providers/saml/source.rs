//! Where an identity provider's metadata comes from: a file that was read with the configuration, or a URL that is asked again
//! and again. What was good last stays until something better comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use url::Url;

use crate::config::{IdpMetadata, MetadataSource, SamlBinding};
use crate::domain::{Clock, Timestamp};
use crate::outbound::provider::{Bounds, ProviderClient, is_plain_loopback};
use crate::providers::ProviderError;

/// A new key is known this long after it was published, at the latest.
const REFRESH: Duration = Duration::from_secs(300);
/// After a failure.
const RETRY: Duration = Duration::from_secs(10);

/// What was fetched last from each URL; outlives a reload.
#[derive(Debug, Default)]
pub struct MetadataCache(Mutex<HashMap<Url, Fetched>>);

#[derive(Clone, Debug)]
struct Fetched {
    metadata: Arc<IdpMetadata>,
    at: Timestamp,
}

pub(super) enum Source {
    File(Arc<IdpMetadata>),
    Url(Box<Remote>),
}

pub(super) struct Remote {
    url: Url,
    http: ProviderClient,
    cache: Arc<MetadataCache>,
    /// One at a time; holds when the last attempt was made.
    attempt: tokio::sync::Mutex<Option<Timestamp>>,
}

impl Source {
    /// # Errors
    /// When the CA file cannot be used.
    pub(super) fn new(source: &MetadataSource, cache: Arc<MetadataCache>) -> Result<Self, String> {
        Ok(match source {
            MetadataSource::File(metadata) => Self::File(metadata.clone()),
            MetadataSource::Url { url, ca_file } => Self::Url(Box::new(Remote {
                url: url.clone(),
                http: ProviderClient::new(ca_file.as_deref(), is_plain_loopback(url), Bounds::default())?,
                cache,
                attempt: tokio::sync::Mutex::default(),
            })),
        })
    }

    /// What is known and good now, without asking anybody.
    pub(super) fn known(&self, now: Timestamp) -> Result<Arc<IdpMetadata>, ProviderError> {
        let metadata = match self {
            Self::File(metadata) => metadata.clone(),
            Self::Url(remote) => {
                let known = remote.cache.get(&remote.url);
                known
                    .ok_or_else(|| ProviderError::Unavailable("its metadata was not fetched yet".to_owned()))?
                    .metadata
            }
        };
        match metadata.is_valid_at(now) {
            true => Ok(metadata),
            false => Err(ProviderError::Unavailable(
                "its metadata has expired (validUntil)".to_owned(),
            )),
        }
    }

    /// Fetches where it is time; whoever finds another at it goes on.
    pub(super) async fn refresh(&self, binding: SamlBinding, clock: &dyn Clock) {
        let Self::Url(remote) = self else { return };
        let Ok(mut attempt) = remote.attempt.try_lock() else {
            return;
        };
        let now = clock.now();
        let fetched = remote.cache.get(&remote.url);
        let is_good = fetched
            .as_ref()
            .is_some_and(|fetched| fetched.metadata.is_valid_at(now));
        let is_due = match fetched {
            Some(fetched) if is_good => now.since(fetched.at) >= REFRESH,
            _ => true,
        };
        if !is_due || attempt.is_some_and(|last| now.since(last) < RETRY) {
            return;
        }
        *attempt = Some(now);
        if let Err(error) = remote.fetch(binding, now).await {
            tracing::warn!(url = %remote.url, error, "metadata cannot be used; what was good last stays");
        }
    }

    /// What is known, or else what the URL says now.
    pub(super) async fn get(&self, binding: SamlBinding, clock: &dyn Clock) -> Result<Arc<IdpMetadata>, ProviderError> {
        let now = clock.now();
        let known = self.known(now);
        match self {
            Self::Url(remote) if known.is_err() => {
                let mut attempt = remote.attempt.lock().await;
                // Another may have fetched it meanwhile, or failed to, just now.
                if let Ok(known) = self.known(now) {
                    return Ok(known);
                }
                if attempt.is_none_or(|last| now.since(last) >= Duration::from_secs(1)) {
                    *attempt = Some(now);
                    remote.fetch(binding, now).await.map_err(ProviderError::Unavailable)?;
                }
                self.known(now)
            }
            Self::File(_) | Self::Url(_) => known,
        }
    }
}

impl Remote {
    async fn fetch(&self, binding: SamlBinding, now: Timestamp) -> Result<(), String> {
        let metadata = fetch(&self.http, &self.url, binding, now).await?;
        self.cache.put(
            self.url.clone(),
            Fetched {
                metadata: Arc::new(metadata),
                at: now,
            },
        );
        Ok(())
    }
}

/// Asks once, and takes only what can be used.
async fn fetch(http: &ProviderClient, url: &Url, binding: SamlBinding, now: Timestamp) -> Result<IdpMetadata, String> {
    let request = Request::get(url.as_str())
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    let answer = http.send(request).await.map_err(|error| error.to_string())?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("{url} answers {}", answer.status().as_u16()));
    }
    let text = std::str::from_utf8(answer.body()).map_err(|_| format!("{url} answers with what is not UTF-8 text"))?;
    let metadata = IdpMetadata::parse(text).map_err(|error| format!("{url}: {error}"))?;
    if metadata.sign_in_by(binding).is_none() {
        return Err(format!(
            "{url}: it has no SingleSignOnService for the configured binding"
        ));
    }
    match metadata.is_valid_at(now) {
        true => Ok(metadata),
        false => Err(format!("{url}: it has expired (validUntil)")),
    }
}

impl MetadataCache {
    fn get(&self, url: &Url) -> Option<Fetched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn put(&self, url: Url, fetched: Fetched) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(url, fetched);
    }
}
