//! What the issuer says of itself: its metadata and keys, fetched when first needed, refreshed now and then.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::ACCEPT;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, JsonWebKeySet, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use super::super::ProviderError;
use super::failure;
use crate::domain::{Algorithm, Clock, KeySet, Timestamp};
use crate::outbound::provider::{ProviderClient, is_plain_loopback};

/// Metadata older than this is asked for again.
const METADATA_AGE: Duration = Duration::from_secs(3600);
/// Unknown key ids fetch the keys at most this often.
const KEYS_PAUSE: Duration = Duration::from_secs(30);
/// After a failed discovery nobody asks again for this long: requests must not queue up behind a provider that hangs.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// Signatures that only the issuer can make. Neither `none` nor HMAC, whatever the issuer advertises.
const ACCEPTED: [(CoreJwsSigningAlgorithm, Algorithm); 9] = [
    (CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, Algorithm::Rs256),
    (CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384, Algorithm::Rs384),
    (CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512, Algorithm::Rs512),
    (CoreJwsSigningAlgorithm::RsaSsaPssSha256, Algorithm::Ps256),
    (CoreJwsSigningAlgorithm::RsaSsaPssSha384, Algorithm::Ps384),
    (CoreJwsSigningAlgorithm::RsaSsaPssSha512, Algorithm::Ps512),
    (CoreJwsSigningAlgorithm::EcdsaP256Sha256, Algorithm::Es256),
    (CoreJwsSigningAlgorithm::EcdsaP384Sha384, Algorithm::Es384),
    (CoreJwsSigningAlgorithm::EdDsa, Algorithm::EdDsa),
];

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Further {
    pub(super) end_session_endpoint: Option<Url>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Further {}

pub(super) type Metadata = ProviderMetadata<
    Further,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// One checked answer of the issuer.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) metadata: Metadata,
    pub(super) keys: CoreJsonWebKeySet,
    /// What it advertises of what we accept; never empty.
    pub(super) algorithms: Vec<CoreJwsSigningAlgorithm>,
    /// Keys and algorithms again, for tokens that are no ID tokens.
    pub(super) signers: KeySet,
    pub(super) signatures: Vec<Algorithm>,
    fetched: Timestamp,
}

#[derive(Default)]
struct Attempts {
    failed: Option<(Timestamp, String)>,
    keys: Option<Timestamp>,
}

pub(super) struct Discovery {
    issuer: String,
    client: Arc<ProviderClient>,
    clock: Arc<dyn Clock>,
    known: ArcSwapOption<Known>,
    /// Held while asking: one question at a time.
    attempts: Mutex<Attempts>,
}

impl Discovery {
    pub(super) fn new(issuer: &str, client: Arc<ProviderClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client,
            clock,
            known: ArcSwapOption::empty(),
            attempts: Mutex::default(),
        }
    }

    /// What is known of the issuer, asked for where nothing is; what is old is refreshed by one caller while the others go on.
    pub(super) async fn get(&self) -> Result<Arc<Known>, ProviderError> {
        match self.known.load_full() {
            None => {
                let attempts = self.attempts.lock().await;
                // Another caller may have asked while this one waited.
                match self.known.load_full() {
                    Some(known) => Ok(known),
                    None => self.ask(attempts).await,
                }
            }
            Some(known) if self.clock.now().since(known.fetched) < METADATA_AGE => Ok(known),
            Some(known) => match self.attempts.try_lock() {
                Ok(attempts) => Ok(self.ask(attempts).await.unwrap_or(known)),
                Err(_) => Ok(known),
            },
        }
    }

    /// Newer keys than those, after a key id that is not among them; `None` where there are none to be had now.
    pub(super) async fn newer_keys(&self, than: &Arc<Known>) -> Option<Arc<Known>> {
        let mut attempts = self.attempts.lock().await;
        if let Some(known) = self.known.load_full()
            && !Arc::ptr_eq(&known, than)
        {
            return Some(known);
        }
        let now = self.clock.now();
        if attempts.keys.is_some_and(|last| now.since(last) < KEYS_PAUSE) {
            return None;
        }
        attempts.keys = Some(now);
        match JsonWebKeySet::fetch_async(than.metadata.jwks_uri(), &*self.client).await {
            Ok(keys) => {
                let known = Arc::new(Known {
                    metadata: than.metadata.clone(),
                    signers: signers(&keys),
                    keys,
                    algorithms: than.algorithms.clone(),
                    signatures: than.signatures.clone(),
                    fetched: than.fetched,
                });
                self.known.store(Some(known.clone()));
                Some(known)
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer, error = %failure::of_discovery(&error), "keys could not be fetched");
                None
            }
        }
    }

    async fn ask(&self, mut attempts: MutexGuard<'_, Attempts>) -> Result<Arc<Known>, ProviderError> {
        let now = self.clock.now();
        if let Some((at, text)) = &attempts.failed
            && now.since(*at) < FAILURE_PAUSE
        {
            return Err(ProviderError::Unavailable(text.clone()));
        }
        match self.discover().await {
            Ok(known) => {
                let known = Arc::new(known);
                self.known.store(Some(known.clone()));
                attempts.failed = None;
                Ok(known)
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer, %error, "discovery");
                attempts.failed = Some((self.clock.now(), error.to_string()));
                Err(error)
            }
        }
    }

    async fn discover(&self) -> Result<Known, ProviderError> {
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let request = http::Request::get(address)
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let answer = self.client.send(request).await.map_err(failure::of_client)?;
        if answer.status() != http::StatusCode::OK {
            return Err(ProviderError::Unavailable(format!(
                "discovery answers {}",
                answer.status()
            )));
        }
        let metadata: Metadata = serde_json::from_slice(answer.body()).map_err(|error| {
            ProviderError::Refused(format!(
                "the discovery document cannot be read: {}",
                failure::tame(&error)
            ))
        })?;
        check(&self.issuer, &metadata)?;
        let (algorithms, signatures): (Vec<_>, Vec<_>) = ACCEPTED
            .into_iter()
            .filter(|(accepted, _)| metadata.id_token_signing_alg_values_supported().contains(accepted))
            .unzip();
        if algorithms.is_empty() {
            return Err(ProviderError::Refused(
                "the issuer advertises no public-key signature for ID tokens".to_owned(),
            ));
        }
        let keys = JsonWebKeySet::fetch_async(metadata.jwks_uri(), &*self.client)
            .await
            .map_err(|error| failure::of_discovery(&error))?;
        Ok(Known {
            metadata,
            signers: signers(&keys),
            keys,
            algorithms,
            signatures,
            fetched: self.clock.now(),
        })
    }
}

/// Keys that cannot be used are none.
fn signers(keys: &CoreJsonWebKeySet) -> KeySet {
    serde_json::to_vec(keys)
        .ok()
        .and_then(|written| KeySet::read(&written).ok())
        .unwrap_or_default()
}

/// The document speaks for the configured issuer, and sends nobody over plain http.
fn check(issuer: &str, metadata: &Metadata) -> Result<(), ProviderError> {
    if metadata.issuer().as_str() != issuer {
        return Err(ProviderError::Refused(format!(
            "the discovery document is of the issuer {}, not of {issuer}",
            failure::tame(&metadata.issuer().as_str())
        )));
    }
    let plain = Url::parse(issuer).is_ok_and(|issuer| is_plain_loopback(&issuer));
    let Some(token) = metadata.token_endpoint() else {
        return Err(ProviderError::Refused(
            "the discovery document names no token endpoint".to_owned(),
        ));
    };
    let endpoints = [
        ("authorization_endpoint", Some(metadata.authorization_endpoint().url())),
        ("token_endpoint", Some(token.url())),
        ("jwks_uri", Some(metadata.jwks_uri().url())),
        ("userinfo_endpoint", metadata.userinfo_endpoint().map(|url| url.url())),
        (
            "end_session_endpoint",
            metadata.additional_metadata().end_session_endpoint.as_ref(),
        ),
    ];
    for (name, url) in endpoints {
        if url.is_some_and(|url| url.scheme() != "https" && !(plain && is_plain_loopback(url))) {
            return Err(ProviderError::Refused(format!(
                "{name} of the discovery document is not https"
            )));
        }
    }
    Ok(())
}
