//! Who may ask for tokens: the built-in client and those of the configuration, and how they show who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::config::{self, BUILT_IN_CLIENT, Config, GrantType};
use crate::domain::Secret;

use super::{OauthError, Parameters};

/// One client. What it may is asked by `may`, and where codes may go by `may_return_to`.
#[derive(Debug)]
pub struct Client {
    pub id: String,
    /// As people read it.
    pub label: String,
    secret: Option<Secret>,
    grants: Vec<GrantType>,
    redirects: Redirects,
    introspect: bool,
}

#[derive(Debug)]
enum Redirects {
    /// `http://127.0.0.1:PORT/callback` and `http://[::1]:PORT/callback`, any port (RFC 8252, 7.3).
    Loopback,
    Exactly(Vec<String>),
}

pub(super) fn all(config: &Config) -> Vec<Client> {
    // Where it is switched off, no client may.
    let is_on = |grant: &GrantType| config.tokens.device_flow || *grant != GrantType::DeviceCode;
    let built_in = Client {
        id: BUILT_IN_CLIENT.to_owned(),
        label: "The mlgate command".to_owned(),
        secret: None,
        grants: vec![
            GrantType::AuthorizationCode,
            GrantType::DeviceCode,
            GrantType::RefreshToken,
            GrantType::TokenExchange,
        ],
        redirects: Redirects::Loopback,
        introspect: false,
    };
    let configured = config.clients.iter().map(|client| {
        let config::Client {
            id,
            secret,
            grants,
            redirect_uris,
            groups: _,
            introspect,
        } = client.clone();
        Client {
            label: id.clone(),
            id,
            secret,
            grants,
            redirects: Redirects::Exactly(redirect_uris),
            introspect,
        }
    });
    std::iter::once(built_in)
        .chain(configured)
        .map(|mut client| {
            client.grants.retain(is_on);
            client
        })
        .collect()
}

impl Client {
    pub(super) fn is_public(&self) -> bool {
        self.secret.is_none()
    }

    pub(super) fn takes(&self, shown: Option<&Secret>) -> bool {
        self.secret
            .as_ref()
            .zip(shown)
            .is_some_and(|(own, shown)| own.matches(shown.expose()))
    }

    pub(super) fn introspects(&self) -> bool {
        self.introspect
    }

    /// What a family of this client is listed as.
    pub(super) fn name_on(&self, host: Option<&str>) -> String {
        match host {
            Some(host) => format!("{} on {host}", self.label),
            None => self.label.clone(),
        }
    }

    pub fn may(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    pub(super) fn may_return_to(&self, uri: &str) -> bool {
        match &self.redirects {
            Redirects::Exactly(uris) => uris.iter().any(|known| known == uri),
            Redirects::Loopback => is_loopback_callback(uri),
        }
    }
}

/// A host name as a terminal claims it, without what could be read as anything else; `None` where nothing is left.
pub(super) fn host_name(claimed: &str) -> Option<String> {
    let name: String = claimed
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        .take(64)
        .collect();
    (!name.is_empty()).then_some(name)
}

fn is_loopback_callback(uri: &str) -> bool {
    let port = ["http://127.0.0.1:", "http://[::1]:"]
        .iter()
        .find_map(|start| uri.strip_prefix(start))
        .and_then(|rest| rest.strip_suffix("/callback"));
    port.is_some_and(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && !port.starts_with('0')
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// What a request shows of its client.
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
}

impl Shown {
    /// By HTTP Basic or in the body (RFC 6749, 2.3.1), never both.
    pub(super) fn of(parameters: &Parameters, authorization: Option<&[u8]>) -> Result<Self, OauthError> {
        let (id, secret) = (parameters.get("client_id"), parameters.get("client_secret"));
        let Some(header) = authorization else {
            let id = id.ok_or(OauthError::InvalidClient)?;
            return Ok(Self {
                id: id.to_owned(),
                secret: secret.map(Secret::new),
            });
        };
        let shown = basic(header).ok_or(OauthError::InvalidClient)?;
        if secret.is_some() || id.is_some_and(|id| id != shown.id) {
            return Err(OauthError::invalid("the client shows who it is in two ways"));
        }
        Ok(shown)
    }
}

fn basic(header: &[u8]) -> Option<Shown> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    // Both are form-urlencoded first (RFC 6749, 2.3.1).
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text)
            .decode_utf8()
            .ok()
            .map(|text| text.into_owned())
    };
    Some(Shown {
        id: decode(id)?,
        secret: Some(Secret::new(decode(secret)?)).filter(|secret| !secret.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_with_a_port_is_the_terminal_s_own() {
        for uri in [
            "http://127.0.0.1:1/callback",
            "http://127.0.0.1:65535/callback",
            "http://[::1]:8400/callback",
        ] {
            assert!(is_loopback_callback(uri), "{uri}");
        }
        for uri in [
            "http://127.0.0.1/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:08/callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:+80/callback",
            "http://127.0.0.1:/callback",
            "https://127.0.0.1:1/callback",
            "http://localhost:1/callback",
            "http://127.0.0.2:1/callback",
            "http://127.0.0.1:1/callback/",
            "http://127.0.0.1:1/callback?x",
            "http://127.0.0.1:1/callback#x",
            "http://127.0.0.1:1/other/callback",
            "http://127.0.0.1:1@evil.example:1/callback",
            "http://evil.example/callback",
            "HTTP://127.0.0.1:1/callback",
            " http://127.0.0.1:1/callback",
        ] {
            assert!(!is_loopback_callback(uri), "{uri}");
        }
    }

    #[test]
    fn a_client_shows_itself_in_one_way() {
        let fields = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Parameters::new(&pairs).unwrap()
        };
        let header = format!("Basic {}", STANDARD.encode("night%3Aly:a%2Bb+c"));
        let shown = Shown::of(&fields(&[]), Some(header.as_bytes())).unwrap();
        assert_eq!(shown.id, "night:ly");
        assert!(shown.secret.unwrap().matches("a+b c"));
        assert!(Shown::of(&fields(&[("client_id", "night:ly")]), Some(header.as_bytes())).is_ok());
        for twice in [&[("client_id", "other")][..], &[("client_secret", "x")]] {
            let refused = Shown::of(&fields(twice), Some(header.as_bytes()));
            assert!(matches!(refused, Err(OauthError::InvalidRequest(_))));
        }
        for broken in ["Bearer x", "Basic !", "Basic", ""] {
            let refused = Shown::of(&fields(&[("client_id", "a")]), Some(broken.as_bytes()));
            assert!(matches!(refused, Err(OauthError::InvalidClient)), "{broken}");
        }
        assert!(matches!(Shown::of(&fields(&[]), None), Err(OauthError::InvalidClient)));
    }
}
