//! `[check]`: the endpoints that an ingress asks, and where sign-in may return to.

use super::network::Network;
use super::reader::Section;
use super::value;

#[derive(Clone, Debug, Default)]
pub struct Check {
    pub endpoints: Vec<CheckEndpoint>,
    /// Lower case, without ports.
    pub redirect_hosts: Vec<String>,
}

/// An HTTP endpoint that an ingress may ask, by what it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckEndpoint {
    /// nginx and its like.
    AuthRequest,
    /// Traefik and Caddy.
    ForwardAuth,
    /// Envoy and what is built on it.
    ExtAuthz,
}

impl CheckEndpoint {
    const ALL: [Self; 3] = [Self::AuthRequest, Self::ForwardAuth, Self::ExtAuthz];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequest => "auth-request",
            Self::ForwardAuth => "forward-auth",
            Self::ExtAuthz => "ext-authz",
        }
    }
}

pub(super) fn read(section: Section<'_>, network: &Network) -> Check {
    let endpoints = section.list("endpoints", |node| {
        let text = value::text(node)?;
        CheckEndpoint::ALL
            .into_iter()
            .find(|endpoint| endpoint.as_str() == text)
            .ok_or_else(|| format!("must be \"auth-request\", \"forward-auth\" or \"ext-authz\", not {text:?}"))
    });
    let endpoints = endpoints.unwrap_or_default();
    if !endpoints.is_empty() {
        must_know_who_asks(&section, "endpoints", network);
    }
    let redirect_hosts = section.list("redirect_hosts", value::host).unwrap_or_default();
    section.finish();
    Check {
        endpoints,
        redirect_hosts,
    }
}

/// Whoever asks says what is asked: a stranger's word would be an open door.
pub(super) fn must_know_who_asks(section: &Section<'_>, key: &'static str, network: &Network) {
    let trusted = &network.trusted_proxies;
    if trusted.is_empty() {
        section.problem(
            key,
            "needs network.trusted_proxies: the addresses of the ingress, whose word on a request is believed here",
        );
    } else if trusted.iter().any(|net| net.prefix_len() == 0) {
        section.problem(
            key,
            "cannot be used while network.trusted_proxies holds every address: anybody could say what is asked",
        );
    }
}
