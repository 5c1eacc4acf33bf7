//! What people may do with their own sessions and tokens, and only with their own.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Outcome;
use crate::config::Config;
use crate::domain::{Identity, Reason, ReasonCode, Scope, Secret};
use crate::sessions::{Session, Sessions};
use crate::tokens::{NewPersonal, Token, TokenError, Tokens};

use super::diary::{Diary, actor_of};
use super::{NotSignedIn, Parts, Visitor};

pub struct Account {
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    diary: Diary,
    longest: Duration,
}

/// One person's tokens, those of their terminals among them.
const MOST_TOKENS: usize = 100;

/// A personal token that somebody wants for themselves.
pub struct Wanted<'a> {
    pub name: &'a str,
    pub lifetime: Duration,
    pub scope: Scope,
}

/// Why there is none.
#[derive(Debug)]
pub enum NotMade {
    /// Said in the text.
    Invalid(String),
    Not(NotSignedIn),
}

impl From<NotSignedIn> for NotMade {
    fn from(why: NotSignedIn) -> Self {
        Self::Not(why)
    }
}

impl From<TokenError> for NotSignedIn {
    fn from(error: TokenError) -> Self {
        tracing::warn!(%error, "account");
        Self::StoreAway
    }
}

impl Account {
    pub(super) fn new(config: &Config, parts: &Parts, diary: Diary) -> Self {
        Self {
            sessions: parts.sessions.clone(),
            tokens: parts.tokens.clone(),
            diary,
            longest: config.tokens.personal_max_lifetime,
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

    /// A provider that nobody but the person's browser can ask has spoken: their tokens learn it too.
    pub(super) async fn vouched_anew(&self, me: &Identity) -> Result<(), NotSignedIn> {
        for token in self.tokens(me).await? {
            self.tokens.update(&token.id, me.clone(), None).await?;
        }
        Ok(())
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

    /// Makes a token of mine, whose text is shown once.
    ///
    /// # Errors
    /// When it cannot be as it is wanted, or the store or the trail cannot be reached: then there is none.
    pub async fn make_token(
        &self,
        me: &Session,
        wanted: Wanted<'_>,
        visitor: Visitor<'_>,
    ) -> Result<(Secret, Token), NotMade> {
        if wanted.lifetime > self.longest {
            return Err(NotMade::Invalid("that is longer than a token may live here".to_owned()));
        }
        if self.tokens(&me.identity).await?.len() >= MOST_TOKENS {
            let text = format!("you have {MOST_TOKENS} tokens already: revoke some first");
            return Err(NotMade::Invalid(text));
        }
        let new = NewPersonal {
            identity: me.identity.clone(),
            provider_state: me.provider_state.clone(),
            checked: me.checked,
            name: wanted.name,
            lifetime: wanted.lifetime,
            scope: wanted.scope,
        };
        let (secret, token) = self.tokens.make(new).await.map_err(|error| match error {
            TokenError::Invalid(text) => NotMade::Invalid(text),
            error @ TokenError::Unavailable => NotMade::Not(error.into()),
        })?;
        let reason = Reason::new(
            ReasonCode::Requested,
            format!("Made the token {} ({}).", token.id, token.name),
        );
        let noted = self
            .diary
            .note("token.issue", actor_of(me, visitor), Outcome::Allowed, &reason, visitor);
        if let Err(away) = noted.await {
            // What the trail does not know of is not handed out.
            self.tokens.revoke(&token.id).await.map_err(NotSignedIn::from)?;
            return Err(NotSignedIn::from(away).into());
        }
        Ok((secret, token))
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
