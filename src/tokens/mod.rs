//! Tokens: opaque, prefixed, with a checksum; only hashes rest in the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config;
use crate::domain::{Clock, Identity, Random, Scope, Secret, Timestamp};
use crate::store::vault::{Id, Record};
use crate::store::{Sealer, Store, StoreError, Vault};

pub use family::{Family, Flow, Issued, NewFamily, Refreshed};
pub use ticket::{Kind, Mint, Ticket};

mod family;
mod format;
mod ticket;

#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the token store cannot be reached")]
    Unavailable,
    #[error("{0}")]
    Invalid(String),
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "tokens");
        Self::Unavailable
    }
}

type Result<T> = std::result::Result<T, TokenError>;

/// How often `last_used` is written.
const USE_INTERVAL: Duration = Duration::from_secs(60);
const NAME_LIMIT: usize = 100;
/// Of experiments' names in one token, and of each in bytes: MLflow's own are no longer.
const PATTERNS_LIMIT: usize = 50;
const PATTERN_LIMIT: usize = 500;

/// A personal token (`mlg_pat_…`), or a family of access and refresh tokens, as lists and requests see it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// Public id (32 hex digits); reveals nothing of the token.
    pub id: String,
    pub name: String,
    pub identity: Arc<Identity>,
    #[serde(flatten)]
    pub scope: Scope,
    pub created: Timestamp,
    /// The absolute end.
    pub expires: Timestamp,
    /// To about a minute.
    pub last_used: Option<Timestamp>,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
    /// What the provider needs for a recheck, as of a session; lives sealed in the store only.
    #[serde(default)]
    pub provider_state: Option<String>,
    /// `None` for a personal token.
    #[serde(default)]
    pub family: Option<Family>,
}

impl fmt::Debug for Token {
    /// Without the provider's state, which holds tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Record for Token {
    const KIND: &'static str = "token";

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// A personal token to be made.
pub struct NewPersonal<'a> {
    pub identity: Arc<Identity>,
    /// What the provider needs for a recheck, as of a session.
    pub provider_state: Option<String>,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
    pub name: &'a str,
    pub lifetime: Duration,
    pub scope: Scope,
}

/// What tokens need from the configuration.
#[derive(Clone)]
pub struct Settings {
    /// The first seals and signs, all open; at least one.
    pub secrets: Vec<[u8; 32]>,
    pub recheck: Duration,
    pub outage_grace: Duration,
    pub access_lifetime: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
}

impl Settings {
    pub fn new(session: &config::Session, tokens: &config::Tokens) -> Self {
        Self {
            secrets: session.secrets.clone(),
            recheck: session.recheck,
            outage_grace: session.outage_grace,
            access_lifetime: tokens.access_lifetime,
            refresh_idle: tokens.refresh_idle,
            refresh_absolute: tokens.refresh_absolute,
        }
    }
}

pub struct Tokens {
    vault: Vault<Token>,
    mint: Mint,
    settings: Settings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Tokens {
    pub fn new(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let sealer = Sealer::new(&settings.secrets, Arc::clone(&random));
        let vault = Vault::new(store, Arc::clone(&clock), sealer, settings.outage_grace);
        Self {
            vault,
            mint: Mint::new(&settings.secrets),
            settings,
            clock,
            random,
        }
    }

    /// Whether a text has the form and checksum of what may come as a bearer; costs no look-up.
    pub fn looks_like_one(text: &str) -> bool {
        format::is_personal(text) || ticket::looks_like_one(Kind::Access, text)
    }

    /// Makes a personal token for somebody who is not there, as `make`.
    ///
    /// # Errors
    /// Like `make`.
    pub async fn create(
        &self,
        identity: impl Into<Arc<Identity>>,
        name: &str,
        lifetime: Duration,
        read_only: bool,
    ) -> Result<(Secret, Token)> {
        self.make(NewPersonal {
            identity: identity.into(),
            provider_state: None,
            checked: self.clock.now(),
            name,
            lifetime,
            scope: Scope::reading(read_only),
        })
        .await
    }

    /// Makes a personal token; the text is shown once and kept nowhere. The caller bounds the lifetime.
    ///
    /// # Errors
    /// `Invalid` for a name that is empty, longer than 100 characters or holds control characters, for no lifetime, or for
    /// patterns that no experiment could have; `Unavailable` when the store is away: then there is no token.
    pub async fn make(&self, new: NewPersonal<'_>) -> Result<(Secret, Token)> {
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > NAME_LIMIT || name.chars().any(char::is_control) {
            return Err(TokenError::Invalid(format!(
                "a token needs a name of 1 to {NAME_LIMIT} visible characters"
            )));
        }
        if new.lifetime < Duration::from_secs(1) {
            return Err(TokenError::Invalid(
                "a token needs a lifetime of a second or more".into(),
            ));
        }
        let patterns = new.scope.experiments.as_deref().unwrap_or_default();
        let is_name = |pattern: &String| {
            !pattern.trim().is_empty() && pattern.len() <= PATTERN_LIMIT && !pattern.chars().any(char::is_control)
        };
        if new.scope.experiments.is_some() && patterns.is_empty()
            || patterns.len() > PATTERNS_LIMIT
            || !patterns.iter().all(is_name)
        {
            return Err(TokenError::Invalid(format!(
                "a token is limited to at most {PATTERNS_LIMIT} names of experiments, of {PATTERN_LIMIT} bytes each"
            )));
        }
        let text = format::personal(&self.random.bytes());
        let id = Id::of(Token::KIND, text.as_bytes());
        let now = self.clock.now();
        let token = Token {
            id: id.to_string(),
            name: name.to_owned(),
            identity: new.identity,
            scope: new.scope,
            created: now,
            expires: now.plus(new.lifetime),
            last_used: None,
            checked: new.checked,
            provider_state: new.provider_state,
            family: None,
        };
        let token = self.vault.put(id, token, new.lifetime).await?;
        Ok((Secret::new(text), Token::clone(&token)))
    }

    /// The live token behind a personal or an access token's text; `None` for anything else.
    ///
    /// # Errors
    /// When the store is away and the token was not seen within the grace.
    pub async fn find(&self, text: &str) -> Result<Option<Arc<Token>>> {
        let now = self.clock.now();
        let (id, ticket) = if format::is_personal(text) {
            (Id::of(Token::KIND, text.as_bytes()), None)
        } else {
            let Some(ticket) = self.mint.read(Kind::Access, text).filter(|ticket| now < ticket.until) else {
                return Ok(None);
            };
            (ticket.record(), Some(ticket))
        };
        let Some(entry) = self.vault.find(id).await? else {
            return Ok(None);
        };
        let token = entry.record();
        let is_it = match (&token.family, &ticket) {
            (None, None) => true,
            (Some(family), Some(ticket)) => family.is_of(ticket),
            _ => false,
        };
        if now >= token.expires || !is_it {
            return Ok(None);
        }
        entry.use_at(now);
        if entry.take_turn(now, token.last_used.unwrap_or(Timestamp::from_micros(0)), USE_INTERVAL) {
            let used = Token {
                last_used: Some(now),
                ..Token::clone(token)
            };
            let ttl = self.ttl(&used, now);
            // Lost to another writer or to an outage: the token is as good as before.
            let _ = self.vault.replace(id, &entry, used, ttl).await;
        }
        Ok(Some(Arc::clone(token)))
    }

    /// What is left of a token that nobody uses any more.
    fn ttl(&self, token: &Token, now: Timestamp) -> Duration {
        let idle = token.family.as_ref().and_then(Family::refreshed);
        let end = idle.map_or(token.expires, |refreshed| {
            refreshed.plus(self.settings.refresh_idle).min(token.expires)
        });
        end.since(now)
    }

    /// Ends a token by its public id. Gives what it was.
    ///
    /// # Errors
    /// When the store is away: then the token stands.
    pub async fn revoke(&self, id: &str) -> Result<Option<Token>> {
        match Id::parse(id) {
            Some(id) => Ok(self.vault.remove(id).await?),
            None => Ok(None),
        }
    }

    /// All live tokens, or those of one user (provider, user); the newest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self, user: Option<(&str, &str)>) -> Result<Vec<Token>> {
        let mut tokens: Vec<Token> = self
            .vault
            .list(user)
            .await?
            .into_iter()
            .map(|(_, token)| token)
            .collect();
        tokens.sort_by_key(|token| std::cmp::Reverse(token.created));
        Ok(tokens)
    }

    /// Whether the provider should be asked again, in the background: a quarter before the groups grow too old.
    pub fn due_for_recheck(&self, token: &Token) -> bool {
        self.clock.now().since(token.checked) >= self.settings.recheck / 4 * 3
    }

    /// Whether the groups are too old to go by, so that the provider must be asked first.
    pub fn overdue_for_recheck(&self, token: &Token) -> bool {
        self.clock.now().since(token.checked) >= self.settings.recheck
    }

    /// The right to recheck a token, as `Sessions::claim_recheck`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn claim_recheck(&self, id: &str) -> Result<Option<Token>> {
        let Some(id) = Id::parse(id) else { return Ok(None) };
        if !self.vault.claim(id).await? {
            return Ok(None);
        }
        let token = self.vault.read(id).await?.filter(|token| self.due_for_recheck(token));
        if token.is_none() {
            self.vault.release(id).await?;
        }
        Ok(token)
    }

    /// Writes what the provider says now, on all replicas; false when the token has ended: it is never brought back.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn update(&self, id: &str, identity: Identity, provider_state: Option<String>) -> Result<bool> {
        let Some(id) = Id::parse(id) else { return Ok(false) };
        let now = self.clock.now();
        let wrote = self
            .vault
            .update(id, |was| {
                let token = Token {
                    identity: Arc::new(identity.clone()),
                    provider_state: provider_state.clone(),
                    checked: now,
                    ..was
                };
                let ttl = self.ttl(&token, now);
                (token, ttl)
            })
            .await?;
        self.vault.release(id).await?;
        Ok(wrote)
    }
}

#[cfg(test)]
mod tests;
