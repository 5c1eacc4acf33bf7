//! The identity provider ends sessions: by a logout token that it sends us, or by a frame in the browser that is signed in.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Actor, Outcome};
use crate::domain::{Reason, ReasonCode};
use crate::providers::{Ended, ProviderError, RedirectProvider};
use crate::store::seal::digest;
use crate::store::{Store, StoreError, Throttled};

use super::{Login, NotSignedIn, Visitor, Way};

/// Longer than any logout token is taken for, clocks that are apart included.
const REMEMBERED: Duration = Duration::from_secs(900);

impl Login {
    /// Ends the sessions that a logout token of the provider's names; how many they were.
    ///
    /// # Errors
    /// When the token does not hold or came before, or the store or the trail cannot be reached: then it may come again.
    pub async fn ended_by_token(
        &self,
        provider: &str,
        token: &str,
        visitor: Visitor<'_>,
    ) -> Result<usize, NotSignedIn> {
        let way = self.redirect_provider(provider)?;
        // Refusals are written down, for whoever asks: nobody may fill the trail.
        if let Err(throttled) = self.beginnings.admit_address(visitor.address).await {
            return Err(match throttled {
                Throttled::Wait(wait) => NotSignedIn::TooManyAttempts(wait),
                Throttled::StoreAway(error) => error.into(),
            });
        }
        let ended = match way.ended(token).await {
            Ok(ended) => ended,
            Err(error) => return Err(self.refuse_end(provider, &error, visitor).await),
        };
        if !self.heard.first(provider, &ended.id).await? {
            let error = ProviderError::Refused("the logout token came before (jti)".to_owned());
            return Err(self.refuse_end(provider, &error, visitor).await);
        }
        self.beginnings.address_succeeded(visitor.address).await;
        let Ended { session, subject, id } = ended;
        let sessions = self
            .sessions
            .end_by_provider(provider, session.as_deref(), subject.as_deref());
        let sessions = match sessions.await {
            Ok(sessions) => sessions,
            Err(error) => {
                // Not done: the provider may send the same again.
                self.heard.forget(provider, &id).await?;
                return Err(error.into());
            }
        };
        for session in &sessions {
            self.note_end(session, "The identity provider ended it, by a logout token.", visitor)
                .await?;
        }
        Ok(sessions.len())
    }

    /// Ends this browser's session where it came of the provider's session that is named; whether it did.
    ///
    /// # Errors
    /// When there is no such provider, or the store or the trail cannot be reached.
    pub async fn ended_in_frame(
        &self,
        provider: &str,
        issuer: &str,
        provider_session: &str,
        visitor: Visitor<'_>,
    ) -> Result<bool, NotSignedIn> {
        let way = self.redirect_provider(provider)?;
        let Some(cookie) = visitor.session.filter(|_| way.issuer() == Some(issuer)) else {
            return Ok(false);
        };
        let Some(session) = self.sessions.find(cookie).await? else {
            return Ok(false);
        };
        if session.identity.provider != provider || !self.sessions.is_called(&session, provider_session).await? {
            return Ok(false);
        }
        let ended = self
            .end(cookie, "The identity provider ended it, in the browser.", visitor)
            .await?;
        Ok(ended.is_some())
    }

    /// The issuer of a provider that may end sessions.
    pub fn issuer(&self, provider: &str) -> Option<&str> {
        match &self.provider(provider)?.way {
            Way::Redirect(way) => way.issuer(),
            Way::Password(_) => None,
        }
    }

    fn redirect_provider(&self, provider: &str) -> Result<&dyn RedirectProvider, NotSignedIn> {
        match self.provider(provider).map(|provider| &provider.way) {
            Some(Way::Redirect(way)) if way.issuer().is_some() => Ok(&**way),
            _ => Err(NotSignedIn::UnknownProvider),
        }
    }

    async fn refuse_end(&self, provider: &str, error: &ProviderError, visitor: Visitor<'_>) -> NotSignedIn {
        tracing::warn!(request_id = visitor.request_id, provider, %error, "a logout token is refused");
        let (code, outcome) = match error {
            ProviderError::Unavailable(_) => (ReasonCode::Unavailable, Outcome::Failed),
            _ => (ReasonCode::ProviderRefused, Outcome::Refused),
        };
        let actor = Actor {
            provider: Some(provider.to_owned()),
            address: Some(visitor.address.to_string()),
            ..Actor::default()
        };
        let reason = Reason::new(code, error.to_string());
        match self.diary.note("session.end", actor, outcome, &reason, visitor).await {
            Ok(()) => NotSignedIn::Refused(reason),
            Err(away) => away.into(),
        }
    }
}

/// What providers have told already, on all replicas.
pub(super) struct Heard {
    store: Arc<dyn Store>,
}

impl Heard {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Whether a message comes for the first time; of many at once, for one alone.
    async fn first(&self, provider: &str, id: &str) -> Result<bool, StoreError> {
        self.store.put_new(&key(provider, id), b"1", REMEMBERED).await
    }

    async fn forget(&self, provider: &str, id: &str) -> Result<(), StoreError> {
        self.store.take(&key(provider, id)).await.map(drop)
    }
}

fn key(provider: &str, id: &str) -> String {
    let hash = digest("logout token", &[provider.as_bytes(), id.as_bytes()]);
    format!("heard:{}", hex::encode(&hash[..16]))
}
