//! Who is asking: by session cookie, bearer token, a trusted issuer's JWT, or a token as the password of Basic.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::{Caller, Scope, Timestamp, Via};
use crate::mlflow::Source;
use crate::providers::{Issuers, ProviderError};
use crate::sessions::SessionError;
use crate::tokens::{Token, TokenError, Tokens};

use super::incoming::{Incoming, name};
use super::recheck::Rechecked;
use super::{Gate, Stopped};

/// Whether MLflow hands this path's headers on to model vendors.
pub(super) fn goes_to_vendors(path: &str) -> bool {
    path == "/gateway" || path.starts_with("/gateway/")
}

impl Gate {
    /// `None` for nobody. A credential that is shown is the one that counts: where it is bad, no other is tried.
    pub(super) async fn identify(
        &self,
        incoming: &Incoming,
        is_public: impl FnOnce() -> bool,
    ) -> Result<Option<Caller>, Stopped> {
        if let Some(value) = shown(incoming)? {
            let (caller, _) = self.by_header(value, incoming.address).await?;
            return Ok(Some(caller));
        }
        match self.by_cookie(incoming).await {
            Err(_) if is_public() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Whoever a session cookie shows, with groups that are young enough.
    ///
    /// # Errors
    /// When it shows nobody, or nobody can tell now.
    pub async fn by_cookie(&self, incoming: &Incoming) -> Result<Caller, Stopped> {
        let Some(cookie) = self.cookies.session(incoming.all(name::COOKIE)).one() else {
            return Err(Stopped::NotSignedIn);
        };
        let find = async || {
            self.sessions
                .find(cookie)
                .await
                .map_err(|SessionError::Unavailable| Stopped::StoreAway)
        };
        let mut session = find().await?.ok_or(Stopped::NotSignedIn)?;
        match self.rechecks.session(&session).await {
            Rechecked::Young => {}
            Rechecked::Now => {
                session = find().await?.ok_or(Stopped::NotSignedIn)?;
                self.must_be_young_enough(session.checked)?;
            }
            // A script cannot be sent there and back; it goes on with what is known, until its session ends.
            Rechecked::ByBrowser if incoming.is_navigation() => {
                return Err(Stopped::AskAgain(session.identity.provider.clone()));
            }
            Rechecked::ByBrowser => {}
        }
        Ok(Caller {
            identity: session.identity.clone(),
            via: Via::Session,
            credential: Some(session.id.clone()),
            scope: Scope::default(),
            address: incoming.address,
        })
    }

    /// Whoever an `Authorization` header's value shows, and when that ends.
    ///
    /// # Errors
    /// When it is no credential, or nobody can tell now.
    pub async fn by_header(&self, value: &[u8], address: IpAddr) -> Result<(Caller, Timestamp), Stopped> {
        let (via, text) = credential(value).ok_or(Stopped::BadCredential)?;
        if via == Via::Token && Issuers::looks_like_one(&text) {
            return self.by_jwt(&text, address).await;
        }
        let token = self.token(&text).await?;
        let caller = Caller {
            identity: token.identity.clone(),
            via,
            credential: Some(token.id.clone()),
            scope: token.scope.clone(),
            address,
        };
        Ok((caller, token.expires))
    }

    /// The live token behind the text of a personal or an access token, with groups that are young enough.
    ///
    /// # Errors
    /// When there is none, or nobody can tell now.
    pub async fn token(&self, text: &str) -> Result<Arc<Token>, Stopped> {
        if !Tokens::looks_like_one(text) {
            return Err(Stopped::BadCredential);
        }
        let find = async || match self.tokens.find(text).await {
            Ok(token) => token.ok_or(Stopped::BadCredential),
            Err(TokenError::Unavailable) => Err(Stopped::StoreAway),
            Err(TokenError::Invalid(_)) => Err(Stopped::BadCredential),
        };
        let mut token = find().await?;
        match self.rechecks.token(&token).await {
            // Where only a browser could ask, a program goes on with what is known, until the token ends.
            Rechecked::Young | Rechecked::ByBrowser => {}
            Rechecked::Now => {
                token = find().await?;
                self.must_be_young_enough(token.checked)?;
            }
        }
        Ok(token)
    }

    /// Asks the provider about a token's owner where that is due; who has gone has no token any more then.
    pub async fn recheck(&self, token: &Token) {
        self.rechecks.token(token).await;
    }

    async fn by_jwt(&self, token: &str, address: IpAddr) -> Result<(Caller, Timestamp), Stopped> {
        let workload = self.issuers.identify(token).await.map_err(|error| match error {
            ProviderError::Unavailable(_) => Stopped::IssuerAway,
            ProviderError::Refused(text) => Stopped::BadJwt(format!("Refused: {text}.")),
            ProviderError::BadPassword | ProviderError::AccountRefused(_) | ProviderError::BadAttempt(_) => {
                Stopped::BadCredential
            }
        })?;
        let caller = Caller {
            identity: workload.identity,
            via: Via::Jwt,
            credential: Some(workload.id),
            scope: Scope::default(),
            address,
        };
        Ok((caller, workload.expires))
    }

    /// A provider that does not answer is waited for, for `outage_grace`; then its word is too old to go by.
    fn must_be_young_enough(&self, checked: Timestamp) -> Result<(), Stopped> {
        let session = &self.config.session;
        let age = self.trail.clock.now().since(checked);
        if age < session.recheck + session.outage_grace {
            Ok(())
        } else {
            Err(Stopped::ProviderAway)
        }
    }
}

/// The one header that shows a credential. Two of them are no credential.
fn shown(incoming: &Incoming) -> Result<Option<&[u8]>, Stopped> {
    let one = |named| {
        let mut values = incoming.all(named);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(Stopped::BadCredential),
            (value, _) => Ok(value),
        }
    };
    if goes_to_vendors(incoming.path())
        && let Some(value) = one(name::X_MLFLOW_AUTHORIZATION)?
    {
        return Ok(Some(value));
    }
    one(name::AUTHORIZATION)
}

/// The token in a header's value.
fn credential(value: &[u8]) -> Option<(Via, String)> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((Via::Token, rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (_user, password) = pair.split_once(':')?;
        return Some((Via::Basic, password.to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_bearer_or_as_the_password_of_basic() {
        let read = |text: &str| credential(text.as_bytes());
        assert_eq!(read("Bearer mlg_pat_x"), Some((Via::Token, "mlg_pat_x".to_owned())));
        assert_eq!(read("bearer  mlg_pat_x"), Some((Via::Token, "mlg_pat_x".to_owned())));
        let basic = format!("Basic {}", STANDARD.encode("alice:mlg_pat_x:y"));
        assert_eq!(read(&basic), Some((Via::Basic, "mlg_pat_x:y".to_owned())));
    }

    #[test]
    fn anything_else_is_no_credential() {
        for bad in [
            "",
            "Bearer",
            "mlg_pat_x",
            "Digest x",
            "Basic %%%",
            "Basic YWxpY2U=",
            "Negotiate abc",
        ] {
            assert_eq!(credential(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(credential(b"Bearer \xff"), None);
    }

    #[test]
    fn only_the_gateway_prefix_goes_to_vendors() {
        assert!(goes_to_vendors("/gateway/openai/v1/chat") && goes_to_vendors("/gateway"));
        assert!(!goes_to_vendors("/gatewayx") && !goes_to_vendors("/api/2.0/mlflow/gateway/x"));
    }
}
