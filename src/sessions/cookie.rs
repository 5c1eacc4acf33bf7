//! The gateway's two cookies, read and written in one place: the session's, and the one that sign-in attempts are bound to.

use std::time::Duration;

use crate::config::Config;
use crate::domain::Secret;

/// Every name that one of our cookies can have, in any configuration: none of them ever reaches MLflow.
const OURS: [&str; 5] = [
    "__Host-mlgate",
    "__Secure-mlgate",
    "mlgate",
    "__Host-mlgate-login",
    "mlgate-login",
];

/// How long a browser keeps the login cookie: as long as a sign-in attempt lives.
const LOGIN_COOKIE: Duration = Duration::from_secs(600);

/// What a request showed under one cookie name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    Nothing,
    One(&'a str),
    /// Several cookies of the name, or one that is no text: somebody tampered, so none of them counts.
    Unusable,
}

impl<'a> Presented<'a> {
    /// The value where there is exactly one.
    pub fn one(self) -> Option<&'a str> {
        match self {
            Self::One(value) => Some(value),
            Self::Nothing | Self::Unusable => None,
        }
    }
}

/// Names and flags, as the configuration decides them.
#[derive(Clone, Debug)]
pub struct Cookies {
    session: &'static str,
    login: &'static str,
    secure: bool,
    domain: Option<String>,
}

impl Cookies {
    pub fn new(config: &Config) -> Self {
        Self::with(config.is_https(), config.session.cookie_domain.as_deref())
    }

    fn with(https: bool, domain: Option<&str>) -> Self {
        let session = match (https, domain) {
            (true, None) => "__Host-mlgate",
            (true, Some(_)) => "__Secure-mlgate",
            (false, _) => "mlgate",
        };
        let login = if https { "__Host-mlgate-login" } else { "mlgate-login" };
        Self {
            session,
            login,
            secure: https,
            domain: domain.map(str::to_owned),
        }
    }

    pub fn session_name(&self) -> &'static str {
        self.session
    }

    pub fn login_name(&self) -> &'static str {
        self.login
    }

    /// The session cookie in the values of all `Cookie` headers of a request.
    pub fn session<'a>(&self, headers: impl IntoIterator<Item = &'a [u8]>) -> Presented<'a> {
        find(headers, self.session)
    }

    /// The login cookie in the values of all `Cookie` headers of a request.
    pub fn login<'a>(&self, headers: impl IntoIterator<Item = &'a [u8]>) -> Presented<'a> {
        find(headers, self.login)
    }

    /// The `Set-Cookie` value that signs a browser in. It ends with the browser; the session's own limits are the store's.
    pub fn set_session(&self, value: &Secret) -> String {
        self.build(self.session, value.expose(), self.domain.as_deref(), None)
    }

    pub fn clear_session(&self) -> String {
        self.build(self.session, "", self.domain.as_deref(), Some(Duration::ZERO))
    }

    /// The `Set-Cookie` value that sign-in attempts are bound to. It never leaves the gateway's own host.
    pub fn set_login(&self, value: &str) -> String {
        self.build(self.login, value, None, Some(LOGIN_COOKIE))
    }

    pub fn clear_login(&self) -> String {
        self.build(self.login, "", None, Some(Duration::ZERO))
    }

    fn build(&self, name: &str, value: &str, domain: Option<&str>, max_age: Option<Duration>) -> String {
        let mut cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        if self.secure {
            cookie.push_str("; Secure");
        }
        if let Some(domain) = domain {
            cookie.push_str("; Domain=");
            cookie.push_str(domain);
        }
        if let Some(age) = max_age {
            cookie.push_str(&format!("; Max-Age={}", age.as_secs()));
        }
        cookie
    }
}

/// The value of one `Cookie` header for MLflow: ours gone, the others as they were. `None` where nothing is left.
pub fn without_ours(header: &[u8]) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = pairs(header)
        .filter(|(name, _)| !is_ours(name))
        .map(|(_, whole)| whole)
        .collect();
    (!kept.is_empty()).then(|| kept.join(&b"; "[..]))
}

/// Servers differ in whether they mind the case of a cookie's name, so ours go in every case.
fn is_ours(name: &[u8]) -> bool {
    OURS.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(name))
}

/// Name and whole pair of each cookie in a header value.
fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            (name.trim_ascii_end(), pair)
        })
}

fn find<'a>(headers: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Presented<'a> {
    let mut found = Presented::Nothing;
    for (candidate, pair) in headers.into_iter().flat_map(pairs) {
        if candidate != name.as_bytes() {
            continue;
        }
        if found != Presented::Nothing {
            return Presented::Unusable;
        }
        let value = pair
            .iter()
            .position(|byte| *byte == b'=')
            .map_or(&b""[..], |at| pair[at + 1..].trim_ascii_start());
        found = std::str::from_utf8(value).map_or(Presented::Unusable, Presented::One);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https() -> Cookies {
        Cookies::with(true, None)
    }

    #[test]
    fn one_cookie_of_the_name_counts_and_two_do_not() {
        let cookies = https();
        let session = |headers: &[&'static str]| cookies.session(headers.iter().map(|header| header.as_bytes()));
        assert_eq!(session(&[]), Presented::Nothing);
        assert_eq!(session(&["a=b; __Host-mlgate=abc; c=d"]), Presented::One("abc"));
        assert_eq!(session(&["a=b", "__Host-mlgate=abc"]), Presented::One("abc"));
        assert_eq!(session(&["__Host-mlgate=abc; __Host-mlgate=def"]), Presented::Unusable);
        assert_eq!(session(&["__Host-mlgate=abc;__Host-mlgate=abc"]), Presented::Unusable);
        assert_eq!(
            session(&["__Host-mlgate=abc", "__Host-mlgate=def"]),
            Presented::Unusable
        );
        assert_eq!(session(&["__Host-mlgate"]), Presented::One(""));
        assert_eq!(session(&["__Host-mlgate=a=b"]), Presented::One("a=b"));
    }

    #[test]
    fn a_cookie_of_another_name_is_not_ours() {
        let cookies = https();
        for header in [
            "mlgate=abc",
            "__host-mlgate=abc",
            "__Host-mlgate2=abc",
            "__Host-mlgate-login=abc",
            "x__Host-mlgate=abc",
            "=__Host-mlgate=abc",
            "x=__Host-mlgate=abc",
        ] {
            assert_eq!(cookies.session([header.as_bytes()]), Presented::Nothing, "{header}");
        }
        assert_eq!(cookies.login([&b"__Host-mlgate-login=abc"[..]]), Presented::One("abc"));
    }

    #[test]
    fn bytes_that_are_no_text_are_unusable() {
        assert_eq!(https().session([&b"__Host-mlgate=\xff"[..]]), Presented::Unusable);
    }

    #[test]
    fn names_and_flags_follow_the_configuration() {
        let value = Secret::new("v");
        assert_eq!(
            https().set_session(&value),
            "__Host-mlgate=v; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            Cookies::with(false, None).set_session(&value),
            "mlgate=v; Path=/; HttpOnly; SameSite=Lax"
        );
        let shared = Cookies::with(true, Some("example.com"));
        assert_eq!(
            shared.set_session(&value),
            "__Secure-mlgate=v; Path=/; HttpOnly; SameSite=Lax; Secure; Domain=example.com"
        );
        assert_eq!(
            shared.set_login("b"),
            "__Host-mlgate-login=b; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"
        );
        assert_eq!(
            https().clear_session(),
            "__Host-mlgate=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
    }

    #[test]
    fn every_cookie_of_ours_is_taken_out_and_the_others_stay() {
        assert_eq!(
            without_ours(b"a=1; __Host-mlgate=x; b=2;mlgate-login=y").as_deref(),
            Some(&b"a=1; b=2"[..])
        );
        assert_eq!(without_ours(b"__SECURE-mlgate=x"), None);
        assert_eq!(without_ours(b"MLGATE=x; mlgate =y; mlgate"), None);
        assert_eq!(
            without_ours(b"mlgate2=x; session=\xff").as_deref(),
            Some(&b"mlgate2=x; session=\xff"[..])
        );
    }
}
