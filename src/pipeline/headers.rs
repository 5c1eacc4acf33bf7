//! Which headers pass, in both directions, and which ones the gateway itself writes.

use std::collections::HashSet;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::sessions::cookie;

use super::introduce::IDENTITY;

/// About one connection, never about the message (RFC 9110, 7.6.1, and what is sent in practice).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Read by somebody as who is asking, from where or for what: only the gateway says that.
const CLAIMS: [&str; 23] = [
    "authorization",
    "cf-connecting-ip",
    "client-ip",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "origin",
    "traceparent",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-mlflow-assistant-delegation",
    "x-mlflow-authorization",
    "x-mlflow-gateway-caller",
    "x-mlflow-guardrail-bypass",
    "x-mlflow-workspace",
    "x-real-ip",
    "x-request-id",
];

/// Name a resource.
const DECISIVE: [&str; 2] = ["x-mlflow-experiment-id", "x-mlflow-run-id"];

const CLAIM_FAMILIES: [&str; 7] = [
    "x-forwarded-",
    "x-mlgate-",
    "x-auth-request-",
    "remote-",
    "x-remote-",
    "x-original-",
    "x-rewrite-",
];

/// Whether a client's header may reach MLflow. Names are lower case already.
///
/// A name with anything but letters, digits and hyphens has twins: WSGI and its like read `x_forwarded_user` and
/// `x.forwarded.user` as `x-forwarded-user`. None of those passes.
fn may_pass(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !HOP_BY_HOP.contains(&name)
        && !CLAIMS.contains(&name)
        && !CLAIM_FAMILIES.iter().any(|family| name.starts_with(family))
        // Remote, X-Remote, … without a tail are no less a claim.
        && !CLAIM_FAMILIES.iter().any(|family| family.trim_end_matches('-') == name)
}

/// Whether a name is a second spelling of one that decides, or that says who is asking. Names are lower case already.
pub fn is_twin(name: &str) -> bool {
    let usual: String = name
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect();
    usual != name && (!may_pass(&usual) || DECISIVE.contains(&usual.as_str()))
}

/// The names that `Connection` takes off this hop.
fn named_in_connection<'a>(values: impl Iterator<Item = &'a [u8]>) -> HashSet<String> {
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok())
        .map(str::to_ascii_lowercase)
        // Both are part of the message's framing or address, and are set anew anyway.
        .filter(|name| name != "close" && name != "keep-alive" && name != "host" && name != "content-length")
        .collect()
}

/// Adds a client's headers as MLflow may see them, without those that its `Connection` names. `Host` and `Content-Length` are not among them: they are set anew.
///
/// With `to_vendors` (`/gateway/*` hands headers on to model vendors) cookies stay behind altogether, and a client's
/// `Authorization` passes where it is not the gateway's own (`foreign_authorization`).
pub(super) fn for_upstream<'a>(
    connection: impl Iterator<Item = &'a [u8]>,
    client: impl Iterator<Item = (&'a str, &'a [u8])>,
    to_vendors: bool,
    foreign_authorization: bool,
    headers: &mut HeaderMap,
) {
    let dropped = named_in_connection(connection);
    let mut cookies: Vec<Vec<u8>> = Vec::new();
    for (name, value) in client {
        if name == "cookie" {
            cookies.extend(cookie::without_ours(value));
            continue;
        }
        let passes = may_pass(name) || (name == "authorization" && foreign_authorization);
        if !passes || name == HOST.as_str() || name == CONTENT_LENGTH.as_str() || dropped.contains(name) {
            continue;
        }
        append(headers, name, value);
    }
    if !to_vendors && !cookies.is_empty() && !dropped.contains("cookie") {
        append(headers, COOKIE.as_str(), &cookies.join(&b"; "[..]));
    }
}

/// What an ingress that can be told so takes off a request, as the gateway would: the names of headers, and the cookies that are
/// left where some are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOff {
    pub names: Vec<String>,
    pub cookie: Option<Vec<u8>>,
}

/// The ingress's own, and what is about one connection.
const OF_THE_INGRESS: [&str; 5] = ["expect", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "via"];

/// Names are lower case. `foreign_authorization` as in [`for_upstream`].
pub(super) fn taken_off(client: &[(String, Vec<u8>)], to_vendors: bool, foreign_authorization: bool) -> TakenOff {
    let mut taken = TakenOff::default();
    for (name, value) in client {
        let kept = || cookie::without_ours(value);
        match name.as_str() {
            "cookie" if to_vendors => taken.names.push(name.clone()),
            "cookie" => match kept() {
                None => taken.names.push(name.clone()),
                Some(kept) if kept.len() != value.len() => taken.cookie = Some(kept),
                Some(_) => {}
            },
            "authorization" if foreign_authorization => {}
            name if HOP_BY_HOP.contains(&name) || OF_THE_INGRESS.contains(&name) => {}
            // Replaced; what is taken off is gone after that.
            name if IDENTITY.contains(&name) => {}
            name if may_pass(name) => {}
            _ => taken.names.push(name.clone()),
        }
    }
    taken
}

fn append(headers: &mut HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
        headers.append(name, value);
    }
}

/// Whether a header of MLflow's answer passes, given the names that its `Connection` took off.
fn answer_may_pass(name: &str, value: &[u8], dropped: &HashSet<String>) -> bool {
    if HOP_BY_HOP.contains(&name) || dropped.contains(name) {
        return false;
    }
    match name {
        // Which server stands behind is nobody's business.
        "server" => false,
        "x-request-id" => false,
        // Our cookies are only ever set by us.
        "set-cookie" => {
            let pair = value.split(|byte| *byte == b';').next().unwrap_or_default();
            cookie::without_ours(pair).is_some()
        }
        _ => true,
    }
}

/// MLflow's headers as the client may see them, `Location` on this site again.
pub(super) fn for_client<'a>(
    answer: &'a HeaderMap,
    site: &'a Rewrite<'a>,
) -> impl Iterator<Item = (&'a HeaderName, std::borrow::Cow<'a, [u8]>)> {
    let dropped = if answer.contains_key("connection") {
        named_in_connection(answer.get_all("connection").iter().map(HeaderValue::as_bytes))
    } else {
        HashSet::new()
    };
    answer
        .iter()
        .filter(move |(name, value)| answer_may_pass(name.as_str(), value.as_bytes(), &dropped))
        .map(move |(name, value)| {
            let rewritten = (name == LOCATION).then(|| site.location(value.as_bytes())).flatten();
            (
                name,
                rewritten.map_or_else(|| value.as_bytes().into(), |text| text.into_bytes().into()),
            )
        })
}

/// Where MLflow thinks it lives, and where people find it.
#[derive(Debug)]
pub(super) struct Rewrite<'a> {
    /// The upstream's `url`.
    pub(super) upstream: &'a url::Url,
    /// `https://host[:port]/path` of this site, without a trailing slash.
    pub(super) site: &'a str,
    /// The path of `site`.
    pub(super) base: &'a str,
}

impl Rewrite<'_> {
    /// A redirect's target on this site; `None` where it points elsewhere already.
    fn location(&self, value: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(value).ok()?;
        let prefix = self.upstream.path().trim_end_matches('/');
        let within = |path: &str| {
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then(|| rest.to_owned())
        };
        if text.starts_with('/') && !text.starts_with("//") {
            return Some(format!("{}{}", self.base, within(text)?));
        }
        let target = url::Url::parse(text).ok()?;
        let same_host = target.host_str() == self.upstream.host_str()
            && target.port_or_known_default() == self.upstream.port_or_known_default();
        if !same_host {
            return None;
        }
        // The text after the authority, kept byte for byte.
        let after = text.find("://").map(|at| &text[at + 3..])?;
        let path = after.find('/').map_or("", |at| &after[at..]);
        Some(format!("{}{}", self.site, within(path)?))
    }
}

/// All but visible ASCII, and what separates or escapes.
const NAME: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%');

/// A name as a header can carry it: visible ASCII as it is, the rest, commas and percent signs percent-encoded.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NAME).to_string()
}

/// Names, each encoded, joined by commas.
pub(super) fn encoded_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(encoded).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(client: &[(&str, &str)]) -> Vec<String> {
        let pairs = || client.iter().map(|(name, value)| (*name, value.as_bytes()));
        let connection = pairs()
            .filter(|(name, _)| *name == "connection")
            .map(|(_, value)| value);
        let mut headers = HeaderMap::new();
        for_upstream(connection, pairs(), false, false, &mut headers);
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn an_ingress_is_told_to_take_off_what_would_not_pass() {
        let client = |pairs: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_owned()));
            owned.collect()
        };
        let asked = client(&[
            ("accept", "*/*"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x_forwarded_user", "root"),
            ("x-forwarded-user", "root"),
            ("remote-user", "root"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b; mlgate=x"),
        ]);
        let taken = taken_off(&asked, false, false);
        assert_eq!(taken.names, ["x_forwarded_user", "remote-user", "authorization"]);
        assert_eq!(taken.cookie.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(
            taken_off(&client(&[("cookie", "mlgate=x")]), false, false).names,
            ["cookie"]
        );
        assert_eq!(
            taken_off(&client(&[("cookie", "a=b")]), false, false),
            TakenOff::default()
        );
        assert_eq!(taken_off(&client(&[("cookie", "a=b")]), true, false).names, ["cookie"]);
        assert!(
            taken_off(&client(&[("authorization", "sk-x")]), true, true)
                .names
                .is_empty()
        );
    }

    #[test]
    fn what_says_who_is_asking_never_passes_in_any_spelling() {
        for name in [
            "x-forwarded-user",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-prefix",
            "forwarded",
            "via",
            "x-real-ip",
            "x-mlgate-roles",
            "x-mlgate-assertion",
            "x-auth-request-email",
            "remote-user",
            "x-remote-user",
            "x-remote-group",
            "x-mlflow-guardrail-bypass",
            "x-mlflow-gateway-caller",
            "x-mlflow-assistant-delegation",
            "authorization",
            "origin",
        ] {
            for spelling in [
                name.to_owned(),
                name.replace('-', "_"),
                name.replace('-', "."),
                name.replacen('-', "_", 1),
            ] {
                if name != "authorization" && name != "origin" && name != "forwarded" && name != "via"
                    || spelling == name
                {
                    assert_eq!(passed(&[(&spelling, "alice")]), Vec::<String>::new(), "{spelling}");
                }
            }
        }
    }

    #[test]
    fn a_second_spelling_of_a_header_is_known_as_one() {
        for name in [
            "x_mlflow_workspace",
            "x-mlflow_run-id",
            "x.forwarded.user",
            "remote_user",
        ] {
            assert!(is_twin(name), "{name}");
        }
        for name in ["x-mlflow-workspace", "x-forwarded-user", "sec_ch_ua", "accept"] {
            assert!(!is_twin(name), "{name}");
        }
    }

    #[test]
    fn mlflows_own_headers_pass() {
        let kept = [("accept", "*/*"), ("content-type", "x/y"), ("range", "bytes=0-1")];
        assert_eq!(passed(&kept).len(), kept.len());
    }

    #[test]
    fn hop_by_hop_headers_and_what_connection_names_stay_on_their_hop() {
        let sent = passed(&[
            ("connection", "close, X-Probe"),
            ("connection", "Accept"),
            ("x-probe", "1"),
            ("accept", "*/*"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept-language", "en"),
        ]);
        assert_eq!(sent, ["accept-language: en"]);
    }

    #[test]
    fn our_cookie_is_taken_out_and_others_stay() {
        assert_eq!(
            passed(&[("cookie", "a=1; __Host-mlgate=s3cret; b=2")]),
            ["cookie: a=1; b=2"]
        );
        assert_eq!(passed(&[("cookie", "mlgate=s3cret")]), Vec::<String>::new());
        assert_eq!(passed(&[("cookie", "a=1"), ("cookie", "b=2")]), ["cookie: a=1; b=2"]);
    }

    #[test]
    fn vendors_get_no_cookie_and_only_a_foreign_authorization() {
        let client = [
            ("cookie", "a=1"),
            ("authorization", "Bearer vendor-key"),
            ("x-api-key", "k"),
        ];
        let pairs = || client.iter().map(|(name, value)| (*name, value.as_bytes()));
        let names = |foreign_authorization| {
            let mut headers = HeaderMap::new();
            for_upstream(std::iter::empty(), pairs(), true, foreign_authorization, &mut headers);
            headers.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["x-api-key"]);
        assert_eq!(names(true), ["authorization", "x-api-key"]);
    }

    #[test]
    fn redirects_come_back_to_this_site() {
        let upstream = "http://127.0.0.1:5000/mlf/".parse().unwrap();
        let rewrite = Rewrite {
            upstream: &upstream,
            site: "https://m.example/ml",
            base: "/ml",
        };
        let location = |text: &str| rewrite.location(text.as_bytes());
        assert_eq!(
            location("http://127.0.0.1:5000/mlf/x?a=1#b").as_deref(),
            Some("https://m.example/ml/x?a=1#b")
        );
        assert_eq!(location("/mlf/x").as_deref(), Some("/ml/x"));
        assert_eq!(location("/mlfx"), None);
        assert_eq!(location("https://bucket.example/x"), None);
        assert_eq!(location("//other.example/x"), None);
        assert_eq!(location("x/y"), None);
    }

    #[test]
    fn mlflow_cannot_set_our_cookies_nor_name_its_server() {
        let mut answer = HeaderMap::new();
        for (name, value) in [
            ("set-cookie", "__Host-mlgate=evil; Path=/; Secure"),
            ("set-cookie", "theme=dark; Path=/"),
            ("server", "uvicorn"),
            ("connection", "close, x-probe"),
            ("x-probe", "1"),
            ("x-frame-options", "SAMEORIGIN"),
        ] {
            append(&mut answer, name, value.as_bytes());
        }
        let upstream = "http://127.0.0.1:5000".parse().unwrap();
        let rewrite = Rewrite {
            upstream: &upstream,
            site: "https://m.example",
            base: "",
        };
        let kept: Vec<_> = for_client(&answer, &rewrite)
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(&value)))
            .collect();
        assert_eq!(kept, ["set-cookie: theme=dark; Path=/", "x-frame-options: SAMEORIGIN"]);
    }

    #[test]
    fn names_are_encoded_so_that_no_name_can_be_read_as_two() {
        assert_eq!(encoded("alice@example.com"), "alice@example.com");
        assert_eq!(encoded("Müller, A%"), "M%C3%BCller%2C%20A%25");
        assert_eq!(encoded("a\rX-Evil: b\n"), "a%0DX-Evil:%20b%0A");
        assert_eq!(encoded_list(["ML Fraud", "a,b"]), "ML%20Fraud,a%2Cb");
    }
}
