//! The token endpoint (RFC 6749, 3.2): one function for each grant.

use crate::audit::Outcome;
use crate::config::GrantType;
use crate::domain::{Reason, ReasonCode, Secret};
use crate::login::Visitor;
use crate::tokens::{Flow, Issued, NewFamily, Refreshed};

use super::exchange::{ACCESS_TOKEN, TOKEN_EXCHANGE};
use super::{Client, Oauth, OauthError, Parameters, is_read_only, scope_of};

/// RFC 8628, 3.4.
pub const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// RFC 6749, 5.1.
#[derive(Debug)]
pub struct Answer {
    pub access: Secret,
    /// Seconds.
    pub expires_in: u64,
    pub refresh: Option<Secret>,
    pub scope: &'static str,
    /// Of an exchange (RFC 8693, 2.2.1).
    pub issued_token_type: Option<&'static str>,
}

impl Oauth {
    /// # Errors
    /// As the RFCs say.
    pub async fn token(
        &self,
        parameters: &Parameters,
        authorization: Option<&[u8]>,
        visitor: Visitor<'_>,
    ) -> Result<Answer, OauthError> {
        let client = match self.unnamed(parameters, authorization) {
            Some(client) => client,
            None => self.authenticate(parameters, authorization, visitor).await?,
        };
        let may = |grant| match client.may(grant) {
            true => Ok(()),
            false => Err(OauthError::UnauthorizedClient),
        };
        match parameters.required("grant_type")? {
            "authorization_code" => {
                may(GrantType::AuthorizationCode)?;
                let issued = self.redeem_code(client, parameters, visitor).await?;
                self.hand_out(issued, visitor).await
            }
            "refresh_token" => {
                may(GrantType::RefreshToken)?;
                self.refresh(client, parameters, visitor).await
            }
            "client_credentials" => {
                may(GrantType::ClientCredentials)?;
                let issued = self.act_for_itself(client, parameters, visitor).await?;
                self.hand_out(issued, visitor).await
            }
            DEVICE_CODE => {
                may(GrantType::DeviceCode)?;
                let issued = self.redeem_device(client, parameters, visitor).await?;
                self.hand_out(issued, visitor).await
            }
            TOKEN_EXCHANGE if self.exchanges() => {
                may(GrantType::TokenExchange)?;
                let issued = self.exchange(client, parameters, visitor).await?;
                self.hand_out(issued, visitor).await
            }
            _ => Err(OauthError::UnsupportedGrantType),
        }
    }

    /// Records a new family, and gives it away: what the trail does not know of is not handed out.
    async fn hand_out(&self, issued: Issued, visitor: Visitor<'_>) -> Result<Answer, OauthError> {
        let token = &issued.token;
        let client = token.family.as_ref().map_or("", |family| &family.client);
        let reason = Reason::new(ReasonCode::Granted, format!("Issued {} to {client}.", token.id));
        if let Err(away) = self
            .note("token.issue", token, Outcome::Allowed, &reason, visitor)
            .await
        {
            self.tokens.revoke(&token.id).await?;
            return Err(away);
        }
        Ok(self.answer(issued))
    }

    async fn refresh(
        &self,
        client: &Client,
        parameters: &Parameters,
        visitor: Visitor<'_>,
    ) -> Result<Answer, OauthError> {
        const BAD: OauthError = OauthError::InvalidGrant("the refresh token is unknown, used up, revoked or too old");
        let text = parameters.required("refresh_token")?;
        // What it may is what was consented to; asking for more is refused, asking for less gives the same.
        let asked = is_read_only(parameters.get("scope")).ok_or(OauthError::InvalidScope)?;
        if parameters.get("scope").is_some() && !asked && self.is_read_only_family(text).await? {
            return Err(OauthError::InvalidScope);
        }
        match self.tokens.refresh(&client.id, text).await? {
            Refreshed::Issued(issued) => {
                let reason = Reason::new(
                    ReasonCode::Granted,
                    format!("Refreshed {} for {}.", issued.token.id, client.id),
                );
                self.note("token.refresh", &issued.token, Outcome::Allowed, &reason, visitor)
                    .await?;
                Ok(self.answer(*issued))
            }
            Refreshed::Reused(ended) => {
                let why = "A refresh token came again after its successor: all tokens of this sign-in have ended.";
                let reason = Reason::new(ReasonCode::BadCredential, why);
                self.note("token.reuse", &ended, Outcome::Refused, &reason, visitor)
                    .await?;
                Err(BAD)
            }
            Refreshed::Unknown => Err(BAD),
        }
    }

    async fn is_read_only_family(&self, text: &str) -> Result<bool, OauthError> {
        let family = self.tokens.family_of(text).await?;
        Ok(family.is_some_and(|token| token.scope.read_only))
    }

    /// RFC 6749, 4.4.
    async fn act_for_itself(
        &self,
        client: &Client,
        parameters: &Parameters,
        visitor: Visitor<'_>,
    ) -> Result<Issued, OauthError> {
        let read_only = is_read_only(parameters.get("scope")).ok_or(OauthError::InvalidScope)?;
        let vouched = self
            .services
            .vouch_for(&client.id)
            .ok_or(OauthError::UnauthorizedClient)?;
        let checked = self.clock.now();
        let new = NewFamily {
            id: self.random.bytes(),
            client: client.id.clone(),
            name: client.label.clone(),
            flow: Flow::ClientCredentials,
            identity: vouched.identity.into(),
            provider_state: None,
            checked,
            read_only,
            address: visitor.address,
            host: None,
            refreshes: false,
            until: None,
        };
        Ok(self.tokens.open(new).await?)
    }

    fn answer(&self, issued: Issued) -> Answer {
        Answer {
            // Rounded: what was issued a moment ago for 30 minutes lives 1800 seconds, not 1799.
            expires_in: (issued.access_until.since(self.clock.now()).as_millis() as u64 + 500) / 1000,
            scope: scope_of(&issued.token),
            issued_token_type: issued
                .token
                .family
                .as_ref()
                .filter(|family| family.flow == Flow::TokenExchange)
                .map(|_| ACCESS_TOKEN),
            access: issued.access,
            refresh: issued.refresh,
        }
    }
}
