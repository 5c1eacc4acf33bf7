//! This site as the world knows it: its address, and what a request to it must look like.

use http::HeaderValue;

use crate::config::Config;
use crate::domain::{Caller, Via};
use crate::mlflow::Source;

use super::incoming::{Incoming, name};
use super::{Stopped, Upstream};

#[derive(Debug)]
pub(super) struct Site {
    /// `public_url` without a trailing slash.
    pub(super) url: String,
    /// Its path, without a trailing slash.
    pub(super) base: String,
    pub(super) scheme: HeaderValue,
    origin: String,
    authority: String,
}

impl Site {
    pub(super) fn new(config: &Config) -> Self {
        let origin = config.origin();
        Self {
            url: config.public_url.as_str().trim_end_matches('/').to_owned(),
            base: config.base_path().to_owned(),
            scheme: HeaderValue::from_static(if config.is_https() { "https" } else { "http" }),
            authority: origin
                .split_once("://")
                .map_or_else(String::new, |(_, authority)| authority.to_owned()),
            origin,
        }
    }

    /// The host that MLflow is told: the one asked for, where the configuration names it, else `public_url`'s.
    pub(super) fn authority<'a>(&'a self, upstream: &Upstream, asked: Option<&'a str>) -> &'a str {
        let named = asked.filter(|host| {
            upstream
                .section
                .hosts
                .contains(&without_port(host).to_ascii_lowercase())
        });
        named.unwrap_or(&self.authority)
    }

    /// The origin of a host that browsers reach by the scheme of `public_url`, as they write it.
    fn origin_of(&self, host: &str) -> Option<String> {
        let url = url::Url::parse(&format!("{}://{host}/", self.scheme.to_str().ok()?)).ok()?;
        Some(url.origin().ascii_serialization())
    }

    /// What no honest client gets wrong.
    pub(super) fn must_be_well_formed(&self, incoming: &Incoming, header_size: usize) -> Result<(), Stopped> {
        let line = incoming.whole_path().len() + incoming.query().map_or(0, str::len);
        let headers: usize = incoming.pairs().map(|(name, value)| name.len() + value.len() + 4).sum();
        if line + headers > header_size {
            return Err(Stopped::HeadersTooLarge);
        }
        let named = match incoming.all(name::HOST).count() {
            0 => incoming.is_http2() && incoming.target_authority().is_some(),
            hosts => hosts == 1,
        };
        if !named {
            return Err(Stopped::Malformed("A request names one host.".to_owned()));
        }
        if incoming
            .target_authority()
            .is_some_and(|target| Some(target) != incoming.host())
        {
            return Err(Stopped::Malformed(
                "The request line and the Host header name different hosts.".to_owned(),
            ));
        }
        let path = incoming.whole_path();
        if !path.starts_with('/') {
            return Err(Stopped::Malformed("The request's target is no path.".to_owned()));
        }
        let base = self.base.get(..incoming.base_length()).unwrap_or(&self.base);
        if !path.starts_with(base) || !incoming.path().starts_with('/') {
            return Err(Stopped::Elsewhere);
        }
        Ok(())
    }

    /// Browsers send cookies with whatever page asks them to: a change that a cookie signs must come from our own.
    pub(super) fn must_be_asked_from_here(&self, incoming: &Incoming, caller: &Caller) -> Result<(), Stopped> {
        if caller.via != Via::Session || !incoming.changes_something() {
            return Ok(());
        }
        // Behind an ingress, our own pages are those of the host that it was asked for. The cookie travels over one scheme.
        let origin = match (incoming.asked_by(), incoming.host()) {
            (Some(_), Some(host)) => self.origin_of(host),
            (Some(_), None) => None,
            (None, _) => Some(self.origin.clone()),
        };
        if origin.is_some_and(|origin| is_from_here(incoming, &origin)) {
            Ok(())
        } else {
            Err(Stopped::CrossSite)
        }
    }
}

fn is_from_here(incoming: &Incoming, origin: &str) -> bool {
    let mut origins = incoming.all(name::ORIGIN);
    match (origins.next(), origins.next()) {
        (Some(only), None) => only == origin.as_bytes(),
        (Some(_), Some(_)) => false,
        (None, _) => {
            let mut fetched = incoming.all(name::SEC_FETCH_SITE);
            fetched.next() == Some(b"same-origin") && fetched.next().is_none()
        }
    }
}

/// A host without its port; brackets stay.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn hosts_are_compared_without_their_ports() {
        assert_eq!(without_port("m.example:8443"), "m.example");
        assert_eq!(without_port("m.example"), "m.example");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
