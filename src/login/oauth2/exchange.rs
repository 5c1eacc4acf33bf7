//! Token exchange (RFC 8693): a workload shows the JWT of its platform, and gets an access token that lasts no longer.

use crate::audit::{Actor, Outcome};
use crate::config::BUILT_IN_CLIENT;
use crate::domain::{Reason, ReasonCode};
use crate::login::Visitor;
use crate::providers::ProviderError;
use crate::tokens::{Flow, Issued, NewFamily};

use super::{Client, Oauth, OauthError, Parameters, is_read_only};

/// RFC 8693, 2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// RFC 8693, 3.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

impl Oauth {
    /// Whether any issuer is trusted, so that there is something to exchange.
    pub fn exchanges(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Who asks for an exchange and names no client: the token says who that is (RFC 8693, 2.1).
    pub(super) fn unnamed(&self, parameters: &Parameters, authorization: Option<&[u8]>) -> Option<&Client> {
        let is_unnamed = parameters.get("grant_type") == Some(TOKEN_EXCHANGE)
            && parameters.get("client_id").is_none()
            && parameters.get("client_secret").is_none()
            && authorization.is_none();
        is_unnamed.then(|| self.client(BUILT_IN_CLIENT)).flatten()
    }

    pub(super) async fn exchange(
        &self,
        client: &Client,
        parameters: &Parameters,
        visitor: Visitor<'_>,
    ) -> Result<Issued, OauthError> {
        let read_only = is_read_only(parameters.get("scope")).ok_or(OauthError::InvalidScope)?;
        let token = parameters.required("subject_token")?;
        if !matches!(parameters.required("subject_token_type")?, JWT | ID_TOKEN) {
            return Err(OauthError::invalid(
                "subject_token_type must be that of a jwt or an id_token",
            ));
        }
        if parameters.get("actor_token").is_some() || parameters.get("actor_token_type").is_some() {
            return Err(OauthError::invalid(
                "nobody acts for another here: leave actor_token out",
            ));
        }
        if parameters
            .get("requested_token_type")
            .is_some_and(|wanted| wanted != ACCESS_TOKEN)
        {
            return Err(OauthError::invalid("requested_token_type can be access_token alone"));
        }
        for target in ["audience", "resource"] {
            let is_here = |named: &str| named.trim_end_matches('/') == self.issuer;
            if parameters.get(target).is_some_and(|named| !is_here(named)) {
                return Err(OauthError::InvalidTarget);
            }
        }
        let now = self.clock.now();
        let vouched = self.issuers.exchange(token).await.and_then(|(workload, state)| {
            // The skew of clocks lets it pass, but nothing can be made of it any more.
            match workload.expires > now {
                true => Ok((workload, state)),
                false => Err(ProviderError::Refused("the token has expired (exp)".to_owned())),
            }
        });
        let (workload, state) = match vouched {
            Ok(vouched) => vouched,
            Err(ProviderError::Unavailable(_)) => return Err(OauthError::Unavailable),
            Err(error) => return Err(self.refuse(&error, visitor).await?),
        };
        let new = NewFamily {
            id: self.random.bytes(),
            client: client.id.clone(),
            name: client.label.clone(),
            flow: Flow::TokenExchange,
            identity: workload.identity,
            provider_state: Some(state),
            checked: now,
            read_only,
            address: visitor.address,
            host: None,
            refreshes: false,
            until: Some(workload.expires),
        };
        Ok(self.tokens.open(new).await?)
    }

    /// RFC 8693, 2.2.2: a subject token that is bad in whatever way is an `invalid_request`.
    async fn refuse(&self, error: &ProviderError, visitor: Visitor<'_>) -> Result<OauthError, OauthError> {
        let text = match error {
            ProviderError::Refused(text) => format!("Refused: {text}."),
            ProviderError::BadPassword
            | ProviderError::AccountRefused(_)
            | ProviderError::BadAttempt(_)
            | ProviderError::Unavailable(_) => "Refused.".to_owned(),
        };
        let reason = Reason::new(ReasonCode::BadCredential, text.as_str());
        let actor = Actor {
            address: Some(visitor.address.to_string()),
            ..Actor::default()
        };
        self.diary
            .note("token.refused", actor, Outcome::Refused, &reason, visitor)
            .await?;
        Ok(OauthError::InvalidRequest(text))
    }
}
