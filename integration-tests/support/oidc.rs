//! A real OpenID provider, and a browser without a screen that goes through its forms.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::http::{Request, Response};
use super::process::{Server, until};
use super::{free_port, parts, root};

/// The certified npm `oidc-provider`.
pub struct OidcProvider {
    pub authority: String,
    _server: Server,
}

impl OidcProvider {
    /// For one gateway, whose callback is `redirect`.
    pub fn start(redirect: &str) -> Self {
        Self::start_with(redirect, &[])
    }

    pub fn start_with(redirect: &str, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut server = Server::start(
            Command::new("node")
                .arg(root().join("integration-tests/support/oidc-provider.mjs"))
                .arg(parts().join("npm"))
                .args([&port.to_string(), redirect])
                .envs(environment.iter().copied())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let authority = format!("127.0.0.1:{port}");
        until("the OpenID provider answers", Duration::from_secs(60), || {
            assert!(server.is_running(), "the OpenID provider ended");
            std::net::TcpStream::connect(&authority).is_ok()
        });
        Self {
            authority,
            _server: server,
        }
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Changes a person while it runs.
    pub fn change(&self, change: &serde_json::Value) {
        assert_eq!(
            Request::new("POST", "/test/user")
                .json(change)
                .send(&self.authority)
                .status,
            200
        );
    }
}

/// Follows redirects over several hosts and keeps each one's cookies.
#[derive(Default)]
pub struct Walker {
    cookies: BTreeMap<(String, String), String>,
    /// Where the last answer came from: `host:port` and target.
    pub at: (String, String),
}

impl Walker {
    /// Goes to an absolute URL and on along redirects.
    pub fn go(&mut self, url: &str) -> Response {
        let (authority, target) = split(url);
        self.send(&authority, Request::get(&target).navigation())
    }

    /// Sends a form to an address that may be relative to the last answer.
    pub fn submit(&mut self, action: &str, fields: &[(&str, &str)]) -> Response {
        let (authority, target) = self.resolve(action);
        let origin = format!("http://{authority}");
        self.send(
            &authority,
            Request::new("POST", &target)
                .navigation()
                .header("Origin", &origin)
                .form(fields),
        )
    }

    pub fn cookie(&self, authority: &str, name: &str) -> Option<String> {
        self.cookies
            .get(&(authority.to_owned(), name.to_owned()))
            .map(|value| format!("{name}={value}"))
    }

    fn resolve(&self, location: &str) -> (String, String) {
        let here = url::Url::parse(&format!("http://{}{}", self.at.0, self.at.1));
        match here {
            Ok(here) => split(here.join(location).unwrap().as_str()),
            Err(_) => split(location),
        }
    }

    fn send(&mut self, authority: &str, request: Request) -> Response {
        let (mut authority, mut request) = (authority.to_owned(), request);
        for _ in 0..20 {
            let cookies: Vec<_> = self
                .cookies
                .iter()
                .filter(|((host, _), _)| *host == authority)
                .map(|((_, name), value)| format!("{name}={value}"))
                .collect();
            let mut asked = request.clone();
            if !cookies.is_empty() {
                asked = asked.header("Cookie", &cookies.join("; "));
            }
            let answer = asked.send(&authority);
            self.at = (authority.clone(), request.target.clone());
            for cookie in answer.all("set-cookie") {
                let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
                let key = (authority.clone(), name.to_owned());
                if value.is_empty() {
                    self.cookies.remove(&key);
                } else {
                    self.cookies.insert(key, value.to_owned());
                }
            }
            let Some(location) = answer
                .header("location")
                .filter(|_| (300..400).contains(&answer.status))
            else {
                return answer;
            };
            let (next, target) = self.resolve(location);
            authority = next;
            request = Request::get(&target).navigation();
        }
        panic!("more than 20 redirects");
    }
}

fn split(url: &str) -> (String, String) {
    let rest = url
        .strip_prefix("http://")
        .unwrap_or_else(|| panic!("not a plain URL: {url}"));
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    (
        authority.to_owned(),
        if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        },
    )
}
