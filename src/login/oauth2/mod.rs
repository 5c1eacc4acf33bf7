//! The authorization server for terminals, jobs and services: OAuth 2.0 (RFC 6749) as RFC 9700 wants it, with PKCE
//! (RFC 7636), loopback redirects (RFC 8252), devices (RFC 8628), revocation (RFC 7009), introspection (RFC 7662) and
//! token exchange (RFC 8693).

mod authorize;
mod client;
mod device;
mod error;
mod exchange;
mod parameters;
mod token;

use std::sync::Arc;

use crate::audit::{Actor, Outcome};
use crate::config::{CLIENTS, Config};
use crate::domain::{Clock, Random, Reason, ReasonCode};
use crate::providers::{Clients, Issuers};
use crate::store::{Shelf, Throttle, Throttled};
use crate::tokens::{Mint, Token, Tokens};

use super::diary::Diary;
use super::round_trip::beginnings;
use super::{NotSignedIn, Parts, Visitor};

use authorize::Code;
use client::Client;
use device::Device;

pub use authorize::{Asked, BadAuthorize};
pub use device::{Begun, NoDevice, Waiting};
pub use error::OauthError;
pub use exchange::TOKEN_EXCHANGE;
pub use parameters::Parameters;
pub use token::{Answer, DEVICE_CODE};

/// All that a person may do.
pub const SCOPE_ALL: &str = "mlflow";
/// Of it, only READ.
pub const SCOPE_READ: &str = "mlflow.read";

pub struct Oauth {
    /// RFC 8414 and RFC 9207: `public_url` without a trailing slash.
    issuer: String,
    clients: Vec<Client>,
    services: Clients,
    issuers: Arc<Issuers>,
    tokens: Arc<Tokens>,
    mint: Mint,
    codes: Shelf<Code>,
    devices: Shelf<Device>,
    /// From the letters to the device code's id.
    user_codes: Shelf<[u8; 16]>,
    secrets: Throttle,
    /// Codes of terminals that were typed and are none.
    guesses: Throttle,
    devices_begun: Throttle,
    diary: Diary,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Oauth {
    pub(super) fn new(config: &Config, parts: &Parts, diary: Diary) -> Self {
        let (store, sealer) = (parts.store.clone(), parts.sealer.clone());
        let attempts = config.limits.login_attempts;
        Self {
            issuer: config.public_url.as_str().trim_end_matches('/').to_owned(),
            clients: client::all(config),
            services: Clients::new(config.clients.clone(), parts.clock.clone()),
            issuers: parts.issuers.clone(),
            tokens: parts.tokens.clone(),
            mint: Mint::new(&config.session.secrets),
            codes: Shelf::new("code", store.clone(), sealer.clone()),
            devices: Shelf::new("device", store.clone(), sealer.clone()),
            user_codes: Shelf::new("usercode", store.clone(), sealer),
            secrets: Throttle::new(store.clone(), "client", attempts),
            guesses: Throttle::new(store.clone(), "device guess", attempts),
            devices_begun: Throttle::new(store, "device", beginnings(attempts)),
            diary,
            clock: parts.clock.clone(),
            random: parts.random.clone(),
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Ends a token at the request of who holds it (RFC 7009); of a family all of it. What is no token has ended already.
    ///
    /// # Errors
    /// When the client is not who it says, or the token is another client's; when the store or the trail is away.
    pub async fn revoke(
        &self,
        parameters: &Parameters,
        authorization: Option<&[u8]>,
        visitor: Visitor<'_>,
    ) -> Result<(), OauthError> {
        let client = self.authenticate(parameters, authorization, visitor).await?;
        let text = parameters.required("token")?;
        let Some(token) = self.held(text).await? else {
            return Ok(());
        };
        // A personal token is no client's: whoever holds it may end it.
        if token.family.as_ref().is_some_and(|family| family.client != client.id) {
            return Err(OauthError::UnauthorizedClient);
        }
        if let Some(ended) = self.tokens.revoke(&token.id).await? {
            let reason = Reason::new(
                ReasonCode::Requested,
                format!("Revoked {} ({}) through {}.", ended.id, ended.name, client.id),
            );
            self.note("token.revoke", &ended, Outcome::Allowed, &reason, visitor)
                .await?;
        }
        Ok(())
    }

    /// The live token behind a text of any kind.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn held(&self, text: &str) -> Result<Option<Token>, OauthError> {
        match self.tokens.find(text).await? {
            Some(token) => Ok(Some(Token::clone(&token))),
            None => Ok(self.tokens.family_of(text).await?),
        }
    }

    /// A client that may introspect (RFC 7662), by its secret.
    ///
    /// # Errors
    /// When it is not who it says, or may not.
    pub async fn introspector(
        &self,
        parameters: &Parameters,
        authorization: Option<&[u8]>,
        visitor: Visitor<'_>,
    ) -> Result<(), OauthError> {
        match self.authenticate(parameters, authorization, visitor).await? {
            client if client.introspects() => Ok(()),
            _ => Err(OauthError::UnauthorizedClient),
        }
    }

    async fn note(
        &self,
        action: &str,
        token: &Token,
        outcome: Outcome,
        reason: &Reason,
        visitor: Visitor<'_>,
    ) -> Result<(), OauthError> {
        let identity = &token.identity;
        let actor = Actor {
            provider: Some(identity.provider.clone()),
            subject: Some(identity.subject.clone()),
            user: Some(identity.user.clone()),
            groups: identity.groups.clone(),
            via: Some("token".to_owned()),
            session: Some(token.id.clone()),
            address: Some(visitor.address.to_string()),
            ..Actor::default()
        };
        Ok(self.diary.note(action, actor, outcome, reason, visitor).await?)
    }

    /// Whoever shows a client's secret, or should have.
    async fn authenticate(
        &self,
        parameters: &Parameters,
        authorization: Option<&[u8]>,
        visitor: Visitor<'_>,
    ) -> Result<&Client, OauthError> {
        let shown = client::Shown::of(parameters, authorization)?;
        let known = self.client(&shown.id);
        if let Some(client) = known
            && client.is_public()
        {
            return match shown.secret {
                None => Ok(client),
                Some(_) => Err(OauthError::InvalidClient),
            };
        }
        // Unknown ids are counted too: what is not there must not be told apart.
        match self.secrets.admit(visitor.address, CLIENTS, &shown.id).await {
            Ok(()) => {}
            Err(Throttled::Wait(wait)) => return Err(OauthError::TooOften(wait)),
            Err(Throttled::StoreAway(error)) => return Err(NotSignedIn::from(error).into()),
        }
        match known {
            Some(client) if client.takes(shown.secret.as_ref()) => {
                self.secrets.succeeded(visitor.address, CLIENTS, &client.id).await;
                Ok(client)
            }
            _ => {
                let reason = Reason::new(ReasonCode::BadPassword, "A client's secret is wrong.");
                let actor = Actor {
                    provider: Some(CLIENTS.to_owned()),
                    user: Some(shown.id),
                    address: Some(visitor.address.to_string()),
                    ..Actor::default()
                };
                self.diary
                    .note("login.refused", actor, Outcome::Refused, &reason, visitor)
                    .await?;
                Err(OauthError::InvalidClient)
            }
        }
    }

    fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }
}

/// Whether a scope leaves READ alone; `None` for one that is not ours. None at all means everything (RFC 6749, 3.3).
fn is_read_only(scope: Option<&str>) -> Option<bool> {
    let Some(scope) = scope else { return Some(false) };
    let mut words = scope.split(' ').filter(|word| !word.is_empty()).peekable();
    words.peek()?;
    let mut read_only = true;
    for word in words {
        match word {
            SCOPE_ALL => read_only = false,
            SCOPE_READ => {}
            _ => return None,
        }
    }
    Some(read_only)
}

/// As a token's answer and its introspection say it.
pub fn scope_of(token: &Token) -> &'static str {
    if token.scope.read_only { SCOPE_READ } else { SCOPE_ALL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_known_or_refused() {
        assert_eq!(is_read_only(None), Some(false));
        assert_eq!(is_read_only(Some("mlflow")), Some(false));
        assert_eq!(is_read_only(Some("mlflow.read")), Some(true));
        assert_eq!(is_read_only(Some("mlflow.read mlflow")), Some(false));
        for unknown in ["", " ", "openid", "mlflow admin", "mlflow.write"] {
            assert_eq!(is_read_only(Some(unknown)), None, "{unknown}");
        }
    }
}
