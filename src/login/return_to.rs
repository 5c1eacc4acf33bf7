//! Where a sign-in may come back to: a path on this site, or a host that the operator named. Anything else is the front page.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::{Position, Url};

use crate::config::Config;

/// Bytes; longer ones go to the front page.
const LONGEST: usize = 4096;

/// Pages that would only lead back to signing in or out.
const LOOPS: [&str; 4] = ["/auth/login", "/auth/logout", "/auth/callback", "/auth/signed-out"];

/// A checked target, fit for `Location`: ASCII, a path of this site or an absolute URL on a named host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReturnTo(String);

impl ReturnTo {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What may be returned to, as the configuration says.
#[derive(Clone, Debug)]
pub struct ReturnPaths {
    public_url: Url,
    /// Without a trailing slash; empty where the site has the whole host.
    base: String,
    /// Lower case; with a port, that port alone; without, any.
    hosts: Vec<String>,
}

impl ReturnPaths {
    pub fn new(config: &Config) -> Self {
        Self::with(config.public_url.clone(), &config.check.redirect_hosts)
    }

    fn with(public_url: Url, hosts: &[String]) -> Self {
        Self {
            base: public_url.path().trim_end_matches('/').to_owned(),
            public_url,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// The site's front page.
    pub fn home(&self) -> ReturnTo {
        ReturnTo(format!("{}/", self.base))
    }

    /// The target that a person or a link asked for (already form-decoded once), or the front page.
    pub fn choose(&self, asked: &str) -> ReturnTo {
        self.check(asked).unwrap_or_else(|| self.home())
    }

    /// Never gives back the text that was asked for, but what the URL standard makes of it: as a browser would read it.
    fn check(&self, asked: &str) -> Option<ReturnTo> {
        if asked.len() > LONGEST || asked.chars().any(char::is_control) {
            return None;
        }
        let head = asked.split(['?', '#']).next().unwrap_or_default();
        if head.contains('\\') {
            return None;
        }
        let url = if let Some(rest) = asked.strip_prefix('/') {
            if rest.starts_with('/') {
                return None;
            }
            self.public_url.join(asked).ok()?
        } else {
            // Only a whole URL with its two slashes: `http:host` and `https:/host` are tricks.
            let scheme = asked.split("://").next()?;
            if !["http", "https"].contains(&scheme) {
                return None;
            }
            Url::parse(asked).ok()?
        };
        let target = if url.origin() == self.public_url.origin() {
            self.own(&url)?
        } else {
            self.foreign(&url)?
        };
        (target.len() <= LONGEST).then_some(ReturnTo(target))
    }

    fn own(&self, url: &Url) -> Option<String> {
        if has_user(url) {
            return None;
        }
        // After `.` and `..` are resolved, and as whatever decodes it once more would read it.
        let path = url.path();
        let decoded = decode(path)?;
        let inside = |path: &str| {
            path.strip_prefix(self.base.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        if path.starts_with("//") || !inside(path) || !inside(&decoded) {
            return None;
        }
        let within = &decoded[self.base.len()..];
        if within.starts_with("//") || decoded.starts_with("//") {
            return None;
        }
        let page = within.trim_end_matches('/');
        let loops = |start: &str| page == start || page.strip_prefix(start).is_some_and(|rest| rest.starts_with('/'));
        if LOOPS.into_iter().any(loops) {
            return None;
        }
        Some(url[Position::BeforePath..].to_owned())
    }

    fn foreign(&self, url: &Url) -> Option<String> {
        // The session's cookie only travels over the scheme that it was set on.
        if url.scheme() != self.public_url.scheme() || has_user(url) {
            return None;
        }
        let host = url.host_str()?;
        let with_port = format!("{host}:{}", url.port_or_known_default()?);
        self.hosts
            .iter()
            .any(|named| named == host || *named == with_port)
            .then(|| url.as_str().to_owned())
    }
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The path percent-decoded until nothing changes; `None` where a layer hides a backslash or a control character, or where
/// the layers do not end.
fn decode(path: &str) -> Option<String> {
    let mut current = path.to_owned();
    for _ in 0..4 {
        let next = percent_decode_str(&current).decode_utf8().ok()?.into_owned();
        if next
            .chars()
            .any(|character| character == '\\' || character.is_control())
        {
            return None;
        }
        if next == current {
            return Some(next);
        }
        current = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(public_url: &str, hosts: &[&str]) -> ReturnPaths {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        ReturnPaths::with(Url::parse(public_url).unwrap(), &hosts)
    }

    #[test]
    fn a_path_of_this_site_is_returned_to_exactly() {
        let site = site("https://mlflow.example.com", &[]);
        for path in [
            "/",
            "/#/experiments/1?compareRunsMode=CHART",
            "/?a=b&c=%2F%2Fevil.com",
            "/ajax-api/2.0/mlflow/runs/search?filter=a%0Ab",
            "/graphql?x=https://evil.com/",
            "/a//b",
            "/a/b%20c",
            "/a%2Fb",
            "/.hidden",
            "/auth/account",
            "/auth/device?user_code=BCDF-GHJK",
            "/auth/loginx",
            "/?next=\\x",
            "/%E2%82%AC",
        ] {
            assert_eq!(site.choose(path).as_str(), path);
        }
        assert_eq!(site.choose("/€").as_str(), "/%E2%82%AC");
        assert_eq!(site.choose("https://mlflow.example.com/x?y#z").as_str(), "/x?y#z");
        assert_eq!(site.choose("https://MLFLOW.example.com:443/x").as_str(), "/x");
    }

    /// Classes of facts/auth-gateways 3.4: backslashes, tabs, slashes, schemes, users, encodings, dots, look-alikes, loops.
    const HOSTILE: &[&str] = &[
        "",
        "evil.com",
        "evil.com/",
        ".evil.com",
        "@evil.com",
        "//evil.com",
        "///evil.com",
        "////evil.com/%2f%2e%2e",
        "/\\evil.com",
        "/\\/evil.com",
        "\\/evil.com",
        "\\\\evil.com",
        "/\\\\evil.com",
        "/a/\\evil.com",
        "/\tevil.com",
        "/\t/evil.com",
        "\t//evil.com",
        " //evil.com",
        " https://evil.com",
        "/\n/evil.com",
        "/\r\nSet-Cookie: a=b",
        "/\u{0}/evil.com",
        "/\u{85}evil",
        "/%09/evil.com",
        "/%0a/evil.com",
        "/%0d%0aSet-Cookie:a=b",
        "/%2fevil.com",
        "/%2Fevil.com",
        "/%252fevil.com",
        "/%25252fevil.com",
        "/%2525252525252fevil.com",
        "/%5cevil.com",
        "/%255cevil.com",
        "%5c%5cevil.com",
        "/.//evil.com",
        "/..//evil.com",
        "/a/..//evil.com",
        "/%2e//evil.com",
        "/%2e%2e//evil.com",
        "/./%2fevil.com",
        "/x/../%2fevil.com",
        "/%ff",
        "http:evil.com",
        "https:evil.com",
        "https:/evil.com",
        "https:///evil.com",
        "https:\\\\evil.com",
        "https://evil.com",
        "HTTPS://evil.com",
        "http://evil.com",
        "http://mlflow.example.com/",
        "https://mlflow.example.com:8443/",
        "https://mlflow.example.com@evil.com/",
        "https://mlflow.example.com:x@evil.com/",
        "https://user@mlflow.example.com/",
        "https://mlflow.example.com.evil.com/",
        "https://mlflow.example.com\\@evil.com/",
        "https://mlflow.example.com%2f@evil.com/",
        "https://evil.com#@mlflow.example.com/",
        "https://evil.com?@mlflow.example.com/",
        "https://evilmlflow.example.com/",
        "https://evil-mlflow.example.com/",
        "https://mlflowaexample.com/",
        "https://example.com/",
        "https://mlflow.example.com//evil.com",
        "https://mlflow.example.com./",
        "http:0xd8.0x3a.0xd6.0xce",
        "http://3627734734",
        "http://[::ffff:216.58.214.206]",
        "javascript:alert(1)",
        "javascript://mlflow.example.com/%0aalert(1)",
        "data:text/html,x",
        "ftp://mlflow.example.com/",
        "wss://mlflow.example.com/",
        "file:///etc/passwd",
        "//mlflow.example.com@evil.com",
        "/auth/login",
        "/auth/login/",
        "/auth/login/local",
        "/auth/login?rd=/",
        "/auth/%6cogin",
        "/auth/./login",
        "/auth/x/../logout",
        "/auth/logout",
        "/auth/callback/google?code=x",
        "https://mlflow.example.com/auth/logout",
    ];

    #[test]
    fn anything_else_goes_to_the_front_page() {
        let site = site("https://mlflow.example.com", &[]);
        for asked in HOSTILE {
            assert_eq!(site.choose(asked).as_str(), "/", "{asked:?}");
        }
    }

    #[test]
    fn a_named_host_is_matched_whole() {
        let site = site(
            "https://auth.example.com",
            &["mlflow.example.com", "apps.example.com:8443"],
        );
        for url in [
            "https://mlflow.example.com/",
            "https://mlflow.example.com/x?y=z#w",
            "https://mlflow.example.com:9443/",
            "https://apps.example.com:8443/",
        ] {
            assert_eq!(site.choose(url).as_str(), url);
        }
        for url in HOSTILE
            .iter()
            .filter(|url| !url.starts_with("https://mlflow.example.com"))
            .chain(&[
                "https://apps.example.com/",
                "https://apps.example.com:9443/",
                "https://mlflow.example.com.evil.com/",
                "https://mlflow.example.com@evil.com/",
                "https://user:password@mlflow.example.com/",
                "https://evil-mlflow.example.com/",
                "http://mlflow.example.com/",
                "https:mlflow.example.com/",
                "//mlflow.example.com/",
            ])
        {
            assert_eq!(site.choose(url).as_str(), "/", "{url:?}");
        }
    }

    #[test]
    fn with_a_prefix_only_what_is_under_it_is_this_site() {
        let site = site("https://example.com/mlflow", &[]);
        for path in ["/mlflow/", "/mlflow/x?y", "/mlflow/#/experiments"] {
            assert_eq!(site.choose(path).as_str(), path);
        }
        for path in [
            "/",
            "/mlflow",
            "/mlflowx/",
            "/other",
            "/mlflow/../other",
            "/mlflow/%2e%2e/other",
            "/mlflow//evil.com",
            "/mlflow/%2fevil.com",
            "/mlflow/auth/login",
            "https://example.com/other",
        ] {
            assert_eq!(site.choose(path).as_str(), "/mlflow/", "{path}");
        }
    }

    #[test]
    fn four_kibibytes_are_the_limit() {
        let site = site("https://example.com", &[]);
        let longest = format!("/{}", "a".repeat(4095));
        assert_eq!(site.choose(&longest).as_str(), longest);
        assert_eq!(site.choose(&format!("{longest}a")).as_str(), "/");
        assert_eq!(
            site.choose(&format!("/{}", "€".repeat(1300))).as_str(),
            "/",
            "it would grow past the limit"
        );
    }
}
