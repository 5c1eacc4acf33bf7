//! Who vouches for a user: with a password (local, LDAP) or by sending the browser there and back (OIDC, SAML).

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::domain::{Identity, Secret, Timestamp};

mod clients;
mod issuers;
mod jws;
mod ldap;
mod local;
mod oidc;
mod saml;

/// What `fuzz/` drives.
#[cfg(fuzzing)]
pub use saml::fuzzing;

pub use clients::Clients;
pub use issuers::{Issuers, KeyCache, Workload};
pub use ldap::Ldap;
pub use local::Local;
pub use oidc::{Oidc, OidcParts, Places};
pub use saml::{MetadataCache, Parts as SamlParts, Saml};

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
    /// The session ends then at the latest, where the provider says so.
    pub until: Option<Timestamp>,
    /// What the provider may call the session by when it ends it, besides the subject.
    pub names: Vec<String>,
}

impl Vouched {
    pub fn new(identity: Identity, state: Option<String>) -> Self {
        Self {
            identity,
            state,
            until: None,
            names: Vec::new(),
        }
    }
}

/// One way in, by what it asks of a person.
#[derive(Clone)]
pub enum Way {
    Password(Arc<dyn PasswordProvider>),
    Redirect(Arc<dyn RedirectProvider>),
}

impl Way {
    /// # Errors
    /// Like the provider's own `recheck`.
    pub async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError> {
        match self {
            Self::Password(provider) => provider.recheck(identity, state).await,
            Self::Redirect(provider) => provider.recheck(identity, state).await,
        }
    }

    /// Whether only the person's browser can ask the provider again.
    pub fn rechecks_in_browser(&self) -> bool {
        match self {
            Self::Password(_) => false,
            Self::Redirect(provider) => provider.rechecks_in_browser(),
        }
    }

    /// Whether it could answer now.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn health(&self) -> Result<(), ProviderError> {
        match self {
            Self::Password(provider) => provider.health().await,
            Self::Redirect(provider) => provider.health().await,
        }
    }

    /// What it does beside all requests, from time to time.
    pub async fn refresh(&self) {
        if let Self::Redirect(provider) = self {
            provider.refresh().await;
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

/// How the browser takes something to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    Redirect(String),
    /// As a form that it submits.
    Form {
        url: String,
        fields: Vec<(&'static str, String)>,
    },
}

/// Where to send the browser, and what must be remembered until it comes back (sealed by the login attempt).
#[derive(Clone, Debug)]
pub struct Departure {
    pub onward: Onward,
    /// The `state` parameter that will come back.
    pub state: Secret,
    /// JSON: nonce, PKCE verifier, …
    pub memory: String,
}

/// What a provider's page sent to one of our endpoints, maybe without our cookies.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The query as it came: a signature may be over its very bytes.
    Query(&'a str),
    /// Decoded fields, in order.
    Form(&'a [(String, String)]),
}

/// What a provider said about the end of sessions.
#[derive(Clone, Debug)]
pub enum LogoutWord {
    /// All sessions with one of these names are to end. Then the browser takes the answer back.
    End { names: Vec<String>, answer: Onward },
    /// The provider has done what we asked for; or why not all of it.
    Ended { trouble: Option<String> },
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
    /// Likewise where nobody began here: the provider's own page did.
    async fn unsolicited(&self, query: &[(String, String)]) -> Result<Vouched, ProviderError> {
        let _ = query;
        Err(ProviderError::BadAttempt("no state".to_owned()))
    }
    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError>;
    /// Whether `recheck` can tell nothing, so that a browser that asks for a page must go to the provider again.
    fn rechecks_in_browser(&self) -> bool {
        false
    }
    /// How the browser ends the provider's own session too.
    async fn logout(&self, state: Option<&str>, return_to: &str) -> Option<Onward>;
    /// What the provider's administrator needs to know of us, as XML.
    fn metadata(&self) -> Option<String> {
        None
    }
    /// An answer that comes as a form, from another site and so without our cookies: checked here, kept for a moment, and given
    /// back as the query with which the browser comes to the callback.
    async fn receive(&self, form: &[(String, String)]) -> Result<String, ProviderError> {
        let _ = form;
        Err(ProviderError::BadAttempt("this provider posts nothing".to_owned()))
    }
    async fn logout_message(&self, message: Message<'_>) -> Result<LogoutWord, ProviderError> {
        let _ = message;
        Err(ProviderError::BadAttempt(
            "this provider sends no such message".to_owned(),
        ))
    }
    /// Asking an issuer on every look at the health would be a load of our own making.
    async fn health(&self) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn refresh(&self) {}
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
