//! Sessions: opened at sign-in, found by cookie, rechecked, closed, and never brought back.

pub mod cookie;
mod links;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::{Clock, Identity, Random, Secret, Timestamp};
use crate::store::vault::{Id, Record};
use crate::store::{Sealer, Store, StoreError, Vault};

use links::Links;

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("the session store cannot be reached")]
    Unavailable,
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "sessions");
        Self::Unavailable
    }
}

type Result<T> = std::result::Result<T, SessionError>;

/// A session as lists and requests see it; never holds the cookie's value.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// Public id (32 hex digits), for lists, the trail and revoking. Reveals nothing of the cookie.
    pub id: String,
    pub identity: Arc<Identity>,
    pub created: Timestamp,
    /// Written at most once a minute (or an eighth of the idle time-out).
    pub last_seen: Timestamp,
    /// The absolute end; the idle one comes earlier.
    pub expires: Timestamp,
    /// Where the sign-in came from.
    pub address: IpAddr,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
    /// What the provider needs for a recheck and for logout (refresh token, id token, sid), as JSON; lives sealed in the store only.
    #[serde(default)]
    pub provider_state: Option<String>,
}

impl fmt::Debug for Session {
    /// Without the provider's state, which holds tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Record for Session {
    const KIND: &'static str = "session";

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

pub struct Sessions {
    settings: Settings,
    vault: Vault<Session>,
    links: Links,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// What sessions need from the configuration.
#[derive(Clone)]
pub struct Settings {
    /// The first seals, all open; at least one.
    pub secrets: Vec<[u8; 32]>,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    pub recheck: Duration,
    pub outage_grace: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("recheck", &self.recheck)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    pub fn new(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let sealer = Sealer::new(&settings.secrets, Arc::clone(&random));
        let vault = Vault::new(Arc::clone(&store), Arc::clone(&clock), sealer, settings.outage_grace);
        Self {
            settings,
            vault,
            links: Links::new(store),
            clock,
            random,
        }
    }

    /// Opens a session under a fresh id. Gives the cookie's value (43 characters, base64url of 256 bits).
    ///
    /// # Errors
    /// When the store is away: then there is no session.
    pub async fn open(
        &self,
        identity: impl Into<Arc<Identity>>,
        address: IpAddr,
        provider_state: Option<String>,
    ) -> Result<(Secret, Arc<Session>)> {
        let secret = self.random.bytes();
        self.open_as(secret, identity.into(), address, provider_state).await
    }

    /// Likewise, one that its provider can end: by any of these names, and by the subject.
    ///
    /// # Errors
    /// When the store is away: then there is no session.
    pub async fn open_for_provider(
        &self,
        identity: impl Into<Arc<Identity>>,
        address: IpAddr,
        provider_state: Option<String>,
        names: &[String],
    ) -> Result<(Secret, Arc<Session>)> {
        let (secret, identity) = (self.random.bytes(), identity.into());
        let (id, life) = (Id::of(Session::KIND, &secret), self.settings.absolute_timeout);
        // First the links: a session must never stand that its provider cannot end.
        let subject = links::by_subject(&identity.provider, &identity.subject);
        self.links.add(&subject, id, life).await?;
        for name in names {
            let named = links::by_name(&identity.provider, name);
            self.links.add(&named, id, life).await?;
        }
        self.open_as(secret, identity, address, provider_state).await
    }

    async fn open_as(
        &self,
        secret: [u8; 32],
        identity: Arc<Identity>,
        address: IpAddr,
        provider_state: Option<String>,
    ) -> Result<(Secret, Arc<Session>)> {
        let id = Id::of(Session::KIND, &secret);
        let now = self.clock.now();
        let session = Session {
            id: id.to_string(),
            identity,
            created: now,
            last_seen: now,
            expires: now.plus(self.settings.absolute_timeout),
            address,
            checked: now,
            provider_state,
        };
        let ttl = self.ttl(&session, now);
        let session = self.vault.put(id, session, ttl).await?;
        Ok((Secret::new(URL_SAFE_NO_PAD.encode(secret)), session))
    }

    /// The session behind a cookie's value; `None` for anything that is not a live session.
    ///
    /// # Errors
    /// When the store is away and the session was not seen within the grace.
    pub async fn find(&self, cookie: &str) -> Result<Option<Arc<Session>>> {
        let Some(id) = id_of(cookie) else { return Ok(None) };
        let Some(entry) = self.vault.find(id).await? else {
            return Ok(None);
        };
        let (now, session) = (self.clock.now(), entry.record());
        let last_seen = session.last_seen.max(entry.last_used());
        if now >= session.expires || now.since(last_seen) >= self.settings.idle_timeout {
            return Ok(None);
        }
        let interval = Duration::from_secs(60).min(self.settings.idle_timeout / 8);
        entry.use_at(now);
        if entry.take_turn(now, session.last_seen, interval) {
            let seen = Session {
                last_seen: now,
                ..Session::clone(session)
            };
            let ttl = self.ttl(&seen, now);
            // Lost to another writer or to an outage: the session is as good as before.
            let _ = self.vault.replace(id, &entry, seen, ttl).await;
        }
        Ok(Some(Arc::clone(session)))
    }

    /// Ends the session of a cookie. Gives what it was.
    ///
    /// # Errors
    /// When the store is away: then the session stands.
    pub async fn close(&self, cookie: &str) -> Result<Option<Session>> {
        match id_of(cookie) {
            Some(id) => Ok(self.vault.remove(id).await?),
            None => Ok(None),
        }
    }

    /// Ends a session by its public id.
    ///
    /// # Errors
    /// When the store is away: then the session stands.
    pub async fn revoke(&self, id: &str) -> Result<Option<Session>> {
        match Id::parse(id) {
            Some(id) => Ok(self.vault.remove(id).await?),
            None => Ok(None),
        }
    }

    /// Ends all sessions of a user; what they were.
    ///
    /// # Errors
    /// When the store is away: then some may stand.
    pub async fn revoke_user(&self, provider: &str, user: &str) -> Result<Vec<Session>> {
        let mut ended = Vec::new();
        for (id, _) in self.vault.list(Some((provider, user))).await? {
            ended.extend(self.vault.remove(id).await?);
        }
        Ok(ended)
    }

    /// Ends what a provider says is ended: the sessions of that name, those of a subject, or with both given, those that are
    /// of both. Gives what they were.
    ///
    /// # Errors
    /// When the store is away: then some may stand.
    pub async fn end_by_provider(
        &self,
        provider: &str,
        name: Option<&str>,
        subject: Option<&str>,
    ) -> Result<Vec<Session>> {
        let index = match (name, subject) {
            (Some(name), _) => links::by_name(provider, name),
            (None, Some(subject)) => links::by_subject(provider, subject),
            (None, None) => return Ok(Vec::new()),
        };
        let mut ended = Vec::new();
        for id in self.links.all(&index).await? {
            let named = self.vault.read(id).await?.is_some_and(|session| {
                session.identity.provider == provider
                    && subject.is_none_or(|subject| session.identity.subject == subject)
            });
            if named {
                ended.extend(self.vault.remove(id).await?);
            }
        }
        Ok(ended)
    }

    /// Whether a session's provider may call it by that name.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn is_called(&self, session: &Session, name: &str) -> Result<bool> {
        let index = links::by_name(&session.identity.provider, name);
        let ids = self.links.all(&index).await?;
        Ok(Id::parse(&session.id).is_some_and(|id| ids.contains(&id)))
    }

    /// How many live sessions there are, on all replicas.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn count(&self) -> Result<usize> {
        Ok(self.vault.size().await?)
    }

    /// All live sessions, or those of one user (provider, user); the newest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self, user: Option<(&str, &str)>) -> Result<Vec<Session>> {
        let mut sessions: Vec<Session> = self
            .vault
            .list(user)
            .await?
            .into_iter()
            .map(|(_, session)| session)
            .collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.created));
        Ok(sessions)
    }

    /// Whether the provider should be asked again, in the background: a quarter before the groups grow too old.
    pub fn due_for_recheck(&self, session: &Session) -> bool {
        self.clock.now().since(session.checked) >= self.settings.recheck / 4 * 3
    }

    /// Whether the groups are too old to go by, so that the provider must be asked first.
    pub fn overdue_for_recheck(&self, session: &Session) -> bool {
        self.clock.now().since(session.checked) >= self.settings.recheck
    }

    /// The right to recheck a session, with the session as the store has it now (a refresh token that another replica
    /// has rotated meanwhile is in it). `None`: another is at it, or it is done, or the session has ended.
    /// It ends with `update`, with the session, or after 30 s: so long an unreachable provider is left alone.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn claim_recheck(&self, id: &str) -> Result<Option<Session>> {
        let Some(id) = Id::parse(id) else { return Ok(None) };
        if !self.vault.claim(id).await? {
            return Ok(None);
        }
        let session = self
            .vault
            .read(id)
            .await?
            .filter(|session| self.due_for_recheck(session));
        if session.is_none() {
            self.vault.release(id).await?;
        }
        Ok(session)
    }

    /// Writes what the provider says now, on all replicas, and gives the claim back; false when the session has ended:
    /// it is never brought back.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn update(&self, id: &str, identity: Identity, provider_state: Option<String>) -> Result<bool> {
        let Some(id) = Id::parse(id) else { return Ok(false) };
        let now = self.clock.now();
        let wrote = self
            .vault
            .update(id, |was| {
                let provider_state = provider_state.clone();
                let session = Session {
                    identity: Arc::new(identity.clone()),
                    provider_state,
                    checked: now,
                    ..was
                };
                let ttl = self.ttl(&session, now);
                (session, ttl)
            })
            .await?;
        self.vault.release(id).await?;
        Ok(wrote)
    }

    /// What is left of a session that nobody uses any more.
    fn ttl(&self, session: &Session, now: Timestamp) -> Duration {
        session
            .last_seen
            .plus(self.settings.idle_timeout)
            .min(session.expires)
            .since(now)
    }
}

/// Exactly 32 bytes in exactly their one spelling (the decoder refuses stray bits), or no session's cookie.
fn id_of(cookie: &str) -> Option<Id> {
    let mut secret = [0; 32];
    let length = URL_SAFE_NO_PAD.decode_slice(cookie, &mut secret).ok()?;
    (length == secret.len()).then(|| Id::of(Session::KIND, &secret))
}

#[cfg(test)]
mod tests;
