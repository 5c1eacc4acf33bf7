//! Tokens: opaque, prefixed, with a checksum; only hashes rest in the store.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::{Clock, Identity, Random, Secret, Timestamp};
use crate::store::vault::{Id, Record};
use crate::store::{Sealer, Store, StoreError, Vault};

mod format;

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

/// A personal token (`mlg_pat_…`) as lists and requests see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// Public id (32 hex digits); reveals nothing of the token.
    pub id: String,
    pub name: String,
    pub identity: Arc<Identity>,
    pub read_only: bool,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// To about a minute.
    pub last_used: Option<Timestamp>,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
}

impl Record for Token {
    const KIND: &'static str = "token";

    fn identity(&self) -> &Identity {
        &self.identity
    }
}

pub struct Tokens {
    vault: Vault<Token>,
    recheck: Duration,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Tokens {
    /// `secrets`: the first seals, all open; at least one.
    pub fn new(
        secrets: Vec<[u8; 32]>,
        recheck: Duration,
        outage_grace: Duration,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let sealer = Sealer::new(&secrets, Arc::clone(&random));
        let vault = Vault::new(store, Arc::clone(&clock), sealer, outage_grace);
        Self {
            vault,
            recheck,
            clock,
            random,
        }
    }

    /// Whether a text has the form and checksum of one of our tokens; costs no look-up.
    pub fn looks_like_one(text: &str) -> bool {
        format::is_whole(text)
    }

    /// Makes a token; the text is shown once and kept nowhere. The caller bounds the lifetime.
    ///
    /// # Errors
    /// `Invalid` for a name that is empty, longer than 100 characters or holds control characters, or for no lifetime;
    /// `Unavailable` when the store is away: then there is no token.
    pub async fn create(
        &self,
        identity: impl Into<Arc<Identity>>,
        name: &str,
        lifetime: Duration,
        read_only: bool,
    ) -> Result<(Secret, Token)> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_LIMIT || name.chars().any(char::is_control) {
            return Err(TokenError::Invalid(format!(
                "a token needs a name of 1 to {NAME_LIMIT} visible characters"
            )));
        }
        if lifetime < Duration::from_secs(1) {
            return Err(TokenError::Invalid(
                "a token needs a lifetime of a second or more".into(),
            ));
        }
        let text = format::write(&self.random.bytes());
        let id = Id::of(Token::KIND, text.as_bytes());
        let now = self.clock.now();
        let token = Token {
            id: id.to_string(),
            name: name.to_owned(),
            identity: identity.into(),
            read_only,
            created: now,
            expires: now.plus(lifetime),
            last_used: None,
            checked: now,
        };
        let token = self.vault.put(id, token, lifetime).await?;
        Ok((Secret::new(text), Token::clone(&token)))
    }

    /// The live token behind a text; `None` for anything else.
    ///
    /// # Errors
    /// When the store is away and the token was not seen within the grace.
    pub async fn find(&self, text: &str) -> Result<Option<Arc<Token>>> {
        if !format::is_whole(text) {
            return Ok(None);
        }
        let id = Id::of(Token::KIND, text.as_bytes());
        let Some(entry) = self.vault.find(id).await? else {
            return Ok(None);
        };
        let (now, token) = (self.clock.now(), entry.record());
        if now >= token.expires {
            return Ok(None);
        }
        entry.use_at(now);
        if entry.take_turn(now, token.last_used.unwrap_or(Timestamp::from_micros(0)), USE_INTERVAL) {
            let used = Token {
                last_used: Some(now),
                ..Token::clone(token)
            };
            // Lost to another writer or to an outage: the token is as good as before.
            let _ = self.vault.replace(id, &entry, used, token.expires.since(now)).await;
        }
        Ok(Some(Arc::clone(token)))
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
        self.clock.now().since(token.checked) >= self.recheck / 4 * 3
    }

    /// Whether the groups are too old to go by, so that the provider must be asked first.
    pub fn overdue_for_recheck(&self, token: &Token) -> bool {
        self.clock.now().since(token.checked) >= self.recheck
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
    pub async fn update(&self, id: &str, identity: Identity) -> Result<bool> {
        let Some(id) = Id::parse(id) else { return Ok(false) };
        let now = self.clock.now();
        let wrote = self
            .vault
            .update(id, |was| {
                let left = was.expires.since(now);
                (
                    Token {
                        identity: Arc::new(identity.clone()),
                        checked: now,
                        ..was
                    },
                    left,
                )
            })
            .await?;
        self.vault.release(id).await?;
        Ok(wrote)
    }
}

#[cfg(test)]
mod tests;
