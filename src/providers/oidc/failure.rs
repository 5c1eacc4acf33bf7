//! How a failure at the provider is told: whose fault it is, and no more text of theirs than is safe to log.

use std::fmt::Display;

use openidconnect::core::{CoreErrorResponseType, CoreRequestTokenError};
use openidconnect::{DiscoveryError, RequestTokenError};

use super::super::ProviderError;
use crate::outbound::provider::ProviderClientError;

/// Foreign text for a log or a page: one short line of printable characters.
pub(super) fn tame(text: &impl Display) -> String {
    text.to_string()
        .chars()
        .filter(|c| !c.is_control() && !is_direction(*c))
        .take(200)
        .collect()
}

/// Characters that change how the rest of a line looks.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(super) fn of_client(error: ProviderClientError) -> ProviderError {
    of_client_ref(&error)
}

fn of_client_ref(error: &ProviderClientError) -> ProviderError {
    match error {
        ProviderClientError::Unreachable(..) | ProviderClientError::Timeout(_) | ProviderClientError::Failing(..) => {
            ProviderError::Unavailable(error.to_string())
        }
        ProviderClientError::NotHttps(_) | ProviderClientError::Redirect(_) | ProviderClientError::TooLarge(..) => {
            ProviderError::Refused(error.to_string())
        }
    }
}

pub(super) fn of_discovery(error: &DiscoveryError<ProviderClientError>) -> ProviderError {
    match error {
        DiscoveryError::Request(error) => of_client_ref(error),
        DiscoveryError::Response(status, _, text) if !status.is_success() => {
            ProviderError::Unavailable(format!("the keys cannot be read: {status} {}", tame(text)))
        }
        other => ProviderError::Refused(format!("the keys cannot be read: {}", tame(other))),
    }
}

/// Of the token endpoint. `invalid_grant` is told apart by the caller through [`is_invalid_grant`].
pub(super) fn of_token(error: CoreRequestTokenError<ProviderClientError>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => of_client(error),
        RequestTokenError::ServerResponse(answer) => {
            let code = tame(answer.error());
            match answer.error() {
                CoreErrorResponseType::InvalidGrant => {
                    ProviderError::Refused("the token endpoint does not take the code (invalid_grant)".to_owned())
                }
                _ => ProviderError::Unavailable(format!("the token endpoint refuses this gateway: {code}")),
            }
        }
        // Neither the body nor where in it parsing stopped: it holds tokens.
        RequestTokenError::Parse(..) => {
            ProviderError::Refused("the token endpoint's answer cannot be read, or its ID token".to_owned())
        }
        RequestTokenError::Other(text) => ProviderError::Unavailable(format!(
            "the token endpoint did not answer as it should: {}",
            tame(&text)
        )),
    }
}

pub(super) fn is_invalid_grant(error: &CoreRequestTokenError<ProviderClientError>) -> bool {
    matches!(error, RequestTokenError::ServerResponse(answer) if *answer.error() == CoreErrorResponseType::InvalidGrant)
}
