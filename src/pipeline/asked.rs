//! A request that an ingress holds and asks about: its parts, from wherever the ingress puts them, in their one form.

use bytes::Bytes;

use super::headers::{self, TakenOff};
use super::identify::goes_to_vendors;

/// Somebody's request as an ingress tells of it. Only a trusted proxy's word makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The endpoint: for the trail and the log.
    pub by: &'static str,
    pub(super) method: String,
    /// Raw, as the ingress will send it.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) host: String,
    /// The client's own, names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Shown,
}

/// What an ingress shows of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Whole(Bytes),
    /// Its beginning.
    Part,
}

/// What an ingress asks makes no question; in words for whoever set it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misasked(pub String);

impl Asked {
    /// `target` is the raw path and query.
    ///
    /// # Errors
    /// When one of the parts cannot be that of a request to MLflow.
    pub fn new(
        by: &'static str,
        method: &str,
        host: &str,
        target: &str,
        headers: Vec<(String, Vec<u8>)>,
        body: Shown,
    ) -> Result<Self, Misasked> {
        let wrong = |what: &str| Err(Misasked(what.to_owned()));
        if !(1..=16).contains(&method.len()) || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return wrong("the method is none");
        }
        if !is_authority(host) {
            return wrong("the host is none");
        }
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
            return wrong("the path is none");
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        // The ingress sends it on as it is, and there are servers to which this parts two pairs.
        if query.is_some_and(|query| query.contains(';')) {
            return wrong("the query has a semicolon that is not escaped");
        }
        Ok(Self {
            by,
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            host: host.to_owned(),
            headers,
            body,
        })
    }

    /// What the ingress should take off before it sends the request on.
    pub fn taken_off(&self) -> TakenOff {
        let to_vendors = goes_to_vendors(&self.path);
        let foreign = to_vendors && self.headers.iter().any(|(name, _)| name == "x-mlflow-authorization");
        headers::taken_off(&self.headers, to_vendors, foreign)
    }

    /// The whole URL that the browser shows, by the scheme of the site.
    pub fn url(&self, scheme: &str) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{}{}{query}", self.host, self.path)
    }
}

/// A URL's scheme, authority, and the rest from its first slash on, byte for byte.
///
/// # Errors
/// When it is not an absolute http or https URL with a path.
pub fn split(url: &str) -> Result<(&str, &str), Misasked> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    must_be_web(scheme)?;
    let slash = rest
        .find('/')
        .ok_or_else(|| Misasked("the URL has no path".to_owned()))?;
    Ok(rest.split_at(slash))
}

/// # Errors
/// When the scheme is neither `http` nor `https`.
pub fn must_be_web(scheme: &str) -> Result<(), Misasked> {
    match scheme {
        "http" | "https" => Ok(()),
        _ => Err(Misasked("the scheme is neither http nor https".to_owned())),
    }
}

/// A host name or address with or without a port, and nothing else.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => {
            let fits = address.parse::<std::net::Ipv6Addr>().is_ok();
            return fits && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        Some(None) => return false,
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=255).contains(&host.len()) && host.bytes().all(plain) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, host: &str, target: &str) -> Result<Asked, Misasked> {
        Asked::new("auth-request", method, host, target, Vec::new(), Shown::Nothing)
    }

    #[test]
    fn a_plain_request_is_told_as_it_is() {
        let asked = asked("GET", "m.example:8443", "/a%20b?x=%2F&y").unwrap();
        assert_eq!(
            (asked.path.as_str(), asked.query.as_deref()),
            ("/a%20b", Some("x=%2F&y"))
        );
        assert_eq!(asked.url("https"), "https://m.example:8443/a%20b?x=%2F&y");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (method, host, target) in [
            ("", "m.example", "/"),
            ("GET ", "m.example", "/"),
            ("G\u{e9}T", "m.example", "/"),
            ("GET", "", "/"),
            ("GET", "m.example,evil.example", "/"),
            ("GET", "user@m.example", "/"),
            ("GET", "m.example/x", "/"),
            ("GET", "m.example:0", "/"),
            ("GET", "m.example:+1", "/"),
            ("GET", "[::1", "/"),
            ("GET", "[::1]x", "/"),
            ("GET", "m.example", ""),
            ("GET", "m.example", "x"),
            ("GET", "m.example", "/a b"),
            ("GET", "m.example", "/a#b"),
            ("GET", "m.example", "/\u{e9}"),
            ("GET", "m.example", "/a?x=1;y=2"),
        ] {
            assert!(asked(method, host, target).is_err(), "{method:?} {host:?} {target:?}");
        }
        assert!(asked("GET", "[::1]:80", "/").is_ok());
    }

    #[test]
    fn a_url_is_split_byte_for_byte() {
        assert_eq!(split("https://m.example//a?b=//c").unwrap(), ("m.example", "//a?b=//c"));
        for bad in [
            "",
            "/x",
            "//m.example/",
            "m.example/x",
            "javascript://m.example/",
            "https://m.example",
            "HTTPS://m/x",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
