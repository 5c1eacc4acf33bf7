//! Every way an OAuth request can fail, and the code that the client is told.

use std::time::Duration;

use crate::login::{NotSignedIn, TrailAway};
use crate::tokens::TokenError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthError {
    InvalidRequest(String),
    InvalidClient,
    UnauthorizedClient,
    InvalidGrant(&'static str),
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    /// RFC 8693, 2.2.2.
    InvalidTarget,
    AccessDenied,
    /// RFC 8628, 3.5: this and the next two.
    AuthorizationPending,
    SlowDown,
    ExpiredToken,
    /// Too many wrong secrets, or too many requests.
    TooOften(Duration),
    /// The store, the trail or a provider is away.
    Unavailable,
}

impl OauthError {
    pub(super) fn invalid(text: &str) -> Self {
        Self::InvalidRequest(text.to_owned())
    }

    /// As the RFCs spell it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::TooOften(_) | Self::Unavailable => "temporarily_unavailable",
        }
    }

    /// At the token endpoint and its neighbours.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::TooOften(_) => 429,
            Self::Unavailable => 503,
            Self::InvalidRequest(_)
            | Self::UnauthorizedClient
            | Self::InvalidGrant(_)
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::AccessDenied
            | Self::AuthorizationPending
            | Self::SlowDown
            | Self::ExpiredToken => 400,
        }
    }

    /// For whoever writes the client.
    pub fn description(&self) -> &str {
        match self {
            Self::InvalidRequest(text) => text,
            Self::InvalidClient => "the client is unknown, or its secret is wrong",
            Self::UnauthorizedClient => "this client may not do that",
            Self::InvalidGrant(text) => text,
            Self::UnsupportedGrantType => "this gateway knows no such grant_type",
            Self::UnsupportedResponseType => "response_type must be code",
            Self::InvalidScope => "scope is mlflow or mlflow.read",
            Self::InvalidTarget => "tokens of this gateway are for this gateway alone",
            Self::AccessDenied => "the person said no",
            Self::AuthorizationPending => "nobody has decided yet",
            Self::SlowDown => "wait 5 seconds longer between two requests from now on",
            Self::ExpiredToken => "the device code is too old; begin again",
            Self::TooOften(_) => "too many attempts; wait, then try again",
            Self::Unavailable => "the gateway cannot serve this now; try again in a moment",
        }
    }

    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooOften(wait) => Some(wait.as_secs().max(1)),
            Self::Unavailable => Some(5),
            _ => None,
        }
    }
}

impl From<TokenError> for OauthError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unavailable => Self::Unavailable,
            TokenError::Invalid(text) => Self::InvalidRequest(text),
        }
    }
}

impl From<crate::store::StoreError> for OauthError {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::warn!(%error, "oauth");
        Self::Unavailable
    }
}

impl From<TrailAway> for OauthError {
    fn from(_: TrailAway) -> Self {
        Self::Unavailable
    }
}

impl From<NotSignedIn> for OauthError {
    fn from(why: NotSignedIn) -> Self {
        match why {
            NotSignedIn::TooManyAttempts(wait) => Self::TooOften(wait),
            NotSignedIn::StoreAway | NotSignedIn::TrailAway | NotSignedIn::ProviderAway => Self::Unavailable,
            NotSignedIn::UnknownProvider
            | NotSignedIn::BadPassword
            | NotSignedIn::Refused(_)
            | NotSignedIn::StaleAttempt => Self::InvalidClient,
        }
    }
}
