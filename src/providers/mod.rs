//! Who vouches for a user: with a password (local, LDAP) or by a redirect (OIDC, later SAML).

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::{Identity, Secret};

mod ldap;
mod local;
mod oidc;

pub use ldap::Ldap;
pub use local::Local;
pub use oidc::{Oidc, OidcParts, Places};

/// Why a provider did not vouch. The person sees the class; the log and the trail see the cause.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// Wrong user or wrong password: told apart nowhere.
    #[error("wrong user name or password")]
    BadPassword,
    /// The person is who they say but may not come in: disabled, wrong domain, unverified address, …
    #[error("the account is refused: {0}")]
    AccountRefused(String),
    /// An answer of the provider that fails a check (signature, nonce, audience, …): an attack or a misconfiguration.
    #[error("the provider's answer is refused: {0}")]
    Refused(String),
    /// Our request itself is stale or forged (state unknown, used twice).
    #[error("the sign-in attempt is not valid any more: {0}")]
    BadAttempt(String),
    #[error("the provider cannot be reached: {0}")]
    Unavailable(String),
}

/// What a provider says of a person, and what it wants kept for the recheck and for logout (sealed JSON).
#[derive(Clone, Debug)]
pub struct Vouched {
    pub identity: Identity,
    pub state: Option<String>,
    /// What the provider may call the session by when it ends it, besides the subject.
    pub names: Vec<String>,
}

impl Vouched {
    pub fn new(identity: Identity, state: Option<String>) -> Self {
        Self {
            identity,
            state,
            names: Vec::new(),
        }
    }
}

/// Whose sessions the provider has ended: one that it names, or all of a subject. At least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it called the session by when it vouched.
    pub session: Option<String>,
    pub subject: Option<String>,
    /// No two messages of one provider have the same.
    pub id: String,
}

#[async_trait]
pub trait PasswordProvider: Send + Sync {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Vouched, ProviderError>;
    /// The canonical user name that guesses are counted by, whatever the spelling that was typed.
    fn canonical(&self, user: &str) -> String;
    /// Asks again, without the password: the identity as it is now; `AccountRefused` ends the session.
    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError>;
    /// Whether it could answer now; what reads a file of this machine always can.
    async fn health(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Where to send the browser, and what must be remembered until it comes back (sealed by the login attempt).
#[derive(Clone, Debug)]
pub struct Departure {
    pub url: String,
    /// The `state` parameter that will come back.
    pub state: Secret,
    /// JSON: nonce, PKCE verifier, …
    pub memory: String,
}

#[async_trait]
pub trait RedirectProvider: Send + Sync {
    /// `callback` is our absolute callback URL.
    async fn begin(&self, callback: &str) -> Result<Departure, ProviderError>;
    /// Likewise for a person who has said who they are, which a provider may pass on and need not believe.
    async fn begin_as(&self, callback: &str, _name: &str) -> Result<Departure, ProviderError> {
        self.begin(callback).await
    }
    /// `query` is the callback's decoded parameters, in order, duplicates included.
    async fn complete(
        &self,
        callback: &str,
        memory: &str,
        query: &[(String, String)],
    ) -> Result<Vouched, ProviderError>;
    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError>;
    /// Where to send the browser so that the provider's own session ends too.
    async fn logout_url(&self, state: Option<&str>, return_to: &str) -> Option<String>;
    /// What a logout token says, once it is checked. Whether it comes for the first time is for whoever acts on it.
    async fn ended(&self, _logout_token: &str) -> Result<Ended, ProviderError> {
        Err(ProviderError::Refused(
            "this provider sends no logout tokens".to_owned(),
        ))
    }
    /// The issuer, of a provider that may end sessions from a frame in the browser.
    fn issuer(&self) -> Option<&str> {
        None
    }
}
