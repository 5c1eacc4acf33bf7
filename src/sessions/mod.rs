//! Sessions: opened at sign-in, found by cookie, rechecked, closed, and never brought back.
// API that the other floors code against; the sessions helper fills it in.

pub mod cookie;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::{Clock, Identity, Random, Secret, Timestamp};
use crate::store::Store;

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("the session store cannot be reached")]
    Unavailable,
}

/// A session as lists and requests see it; never holds the cookie's value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Public id (hex), for lists, the trail and revoking. Reveals nothing of the cookie.
    pub id: String,
    pub identity: Identity,
    pub created: Timestamp,
    pub last_seen: Timestamp,
    pub expires: Timestamp,
    pub address: IpAddr,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
    /// What the provider needs for a recheck and for logout (refresh token, id token, sid), as JSON; lives sealed in the store only.
    #[serde(default)]
    pub provider_state: Option<String>,
}

pub struct Sessions {
    _store: Arc<dyn Store>,
    _clock: Arc<dyn Clock>,
    _random: Arc<dyn Random>,
}

/// What sessions need from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub secrets: Vec<[u8; 32]>,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    pub recheck: Duration,
    pub outage_grace: Duration,
}

impl Sessions {
    pub fn new(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let _ = settings;
        Self {
            _store: store,
            _clock: clock,
            _random: random,
        }
    }

    /// Opens a session under a fresh id. Gives the cookie's value (43 characters, base64url of 256 bits).
    pub async fn open(
        &self,
        _identity: Identity,
        _address: IpAddr,
        _provider_state: Option<String>,
    ) -> Result<(Secret, Arc<Session>), SessionError> {
        todo!()
    }

    /// The session behind a cookie's value; `None` for anything that is not a live session.
    pub async fn find(&self, _cookie: &str) -> Result<Option<Arc<Session>>, SessionError> {
        todo!()
    }

    /// Ends the session of a cookie. Gives what it was.
    pub async fn close(&self, _cookie: &str) -> Result<Option<Session>, SessionError> {
        todo!()
    }

    /// Ends a session by its public id.
    pub async fn revoke(&self, _id: &str) -> Result<Option<Session>, SessionError> {
        todo!()
    }

    /// Ends all sessions of a user; what they were.
    pub async fn revoke_user(&self, _provider: &str, _user: &str) -> Result<Vec<Session>, SessionError> {
        todo!()
    }

    /// All live sessions, or those of one user.
    pub async fn list(&self, _user: Option<(&str, &str)>) -> Result<Vec<Session>, SessionError> {
        todo!()
    }
}
