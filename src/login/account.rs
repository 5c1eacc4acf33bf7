//! What people may do with their own sessions and tokens, and only with their own.

use std::sync::Arc;

use crate::audit::Outcome;
use crate::domain::{Identity, Reason, ReasonCode};
use crate::sessions::{Session, Sessions};
use crate::tokens::{Token, TokenError, Tokens};

use super::diary::{Diary, actor_of};
use super::{NotSignedIn, Parts, Visitor};

pub struct Account {
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    diary: Diary,
}

impl From<TokenError> for NotSignedIn {
    fn from(error: TokenError) -> Self {
        tracing::warn!(%error, "account");
        Self::StoreAway
    }
}

impl Account {
    pub(super) fn new(parts: &Parts, diary: Diary) -> Self {
        Self {
            sessions: parts.sessions.clone(),
            tokens: parts.tokens.clone(),
            diary,
        }
    }

    /// Live sessions, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn sessions(&self, me: &Identity) -> Result<Vec<Session>, NotSignedIn> {
        let mut sessions = self.sessions.list(Some((&me.provider, &me.user))).await?;
        sessions.retain(|session| is_mine(me, &session.identity));
        sessions.sort_by_key(|session| std::cmp::Reverse(session.created));
        Ok(sessions)
    }

    /// Live tokens, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn tokens(&self, me: &Identity) -> Result<Vec<Token>, NotSignedIn> {
        let mut tokens = self.tokens.list(Some((&me.provider, &me.user))).await?;
        tokens.retain(|token| is_mine(me, &token.identity));
        tokens.sort_by_key(|token| std::cmp::Reverse(token.created));
        Ok(tokens)
    }

    /// Ends one of my sessions; false where I have no such one, whether or not somebody else does.
    ///
    /// # Errors
    /// When the store or the trail cannot be reached.
    pub async fn end_session(&self, me: &Session, id: &str, visitor: Visitor<'_>) -> Result<bool, NotSignedIn> {
        if !self
            .sessions(&me.identity)
            .await?
            .iter()
            .any(|session| session.id == id)
        {
            return Ok(false);
        }
        let Some(ended) = self.sessions.revoke(id).await? else {
            return Ok(false);
        };
        let reason = Reason::new(ReasonCode::Requested, format!("Ended the session {}.", ended.id));
        self.diary
            .note("session.end", actor_of(me, visitor), Outcome::Allowed, &reason, visitor)
            .await?;
        Ok(true)
    }

    /// Revokes one of my tokens; false where I have no such one, whether or not somebody else does.
    ///
    /// # Errors
    /// When the store or the trail cannot be reached.
    pub async fn revoke_token(&self, me: &Session, id: &str, visitor: Visitor<'_>) -> Result<bool, NotSignedIn> {
        if !self.tokens(&me.identity).await?.iter().any(|token| token.id == id) {
            return Ok(false);
        }
        let Some(revoked) = self.tokens.revoke(id).await? else {
            return Ok(false);
        };
        let reason = Reason::new(ReasonCode::Requested, format!("Revoked the token {}.", revoked.id));
        self.diary
            .note(
                "token.revoke",
                actor_of(me, visitor),
                Outcome::Allowed,
                &reason,
                visitor,
            )
            .await?;
        Ok(true)
    }
}

/// A user name can pass from one subject to another at the provider; what the one had is not the other's.
fn is_mine(me: &Identity, owner: &Identity) -> bool {
    me.provider == owner.provider && me.subject == owner.subject
}
