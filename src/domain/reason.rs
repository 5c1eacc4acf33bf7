//! Why a decision fell as it did: the same value goes to the refusal, the audit event and `explain`.

use serde::Serialize;

/// A stable code that scripts may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    Granted,
    Public,
    NotSignedIn,
    BadCredential,
    NoRole,
    NotGranted,
    Denied,
    UnknownRoute,
    ReadOnlyToken,
    TokenScope,
    CrossSite,
    Malformed,
    TooLarge,
    RateLimited,
    NetworkRefused,
    BadPassword,
    AccountRefused,
    ProviderRefused,
    UpstreamFailed,
    UpstreamTimeout,
    Unavailable,
    ClientLeft,
    Requested,
}

impl ReasonCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Public => "public",
            Self::NotSignedIn => "not_signed_in",
            Self::BadCredential => "bad_credential",
            Self::NoRole => "no_role",
            Self::NotGranted => "not_granted",
            Self::Denied => "denied",
            Self::UnknownRoute => "unknown_route",
            Self::ReadOnlyToken => "read_only_token",
            Self::TokenScope => "token_scope",
            Self::CrossSite => "cross_site",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::NetworkRefused => "network_refused",
            Self::BadPassword => "bad_password",
            Self::AccountRefused => "account_refused",
            Self::ProviderRefused => "provider_refused",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Unavailable => "unavailable",
            Self::ClientLeft => "client_left",
            Self::Requested => "requested",
        }
    }
}

/// A code and one sentence for a person: what was missing, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub code: ReasonCode,
    pub text: String,
}

impl Reason {
    pub fn new(code: ReasonCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}
