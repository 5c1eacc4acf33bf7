//! Proof that a form was ours: a token bound to the session or to the login cookie, and the browser's own word on where it comes from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use subtle::ConstantTimeEq;

/// What a token is bound to. The purposes are part of the MAC, so a token of one form never opens the other.
#[derive(Clone, Copy, Debug)]
pub enum Binding<'a> {
    /// The login cookie's value: forms before anyone is signed in.
    Login(&'a str),
    /// The session's public id: forms of somebody who is signed in.
    Session(&'a str),
}

/// Makes and checks tokens; stateless, so every replica with the same secrets takes every other's.
#[derive(Clone)]
pub struct Csrf {
    /// Never empty; the first makes, all check.
    keys: Vec<hmac::Key>,
}

impl Csrf {
    /// From the session secrets.
    pub fn new(secrets: &[[u8; 32]]) -> Self {
        let derive = |secret: &[u8; 32]| {
            let tag = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, secret),
                b"mlgate form tokens, version 1",
            );
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        };
        Self {
            keys: secrets.iter().map(derive).collect(),
        }
    }

    pub fn token(&self, binding: Binding<'_>) -> String {
        self.keys.first().map(|key| mac(key, binding)).unwrap_or_default()
    }

    pub fn accepts(&self, binding: Binding<'_>, token: &str) -> bool {
        self.keys
            .iter()
            .any(|key| mac(key, binding).as_bytes().ct_eq(token.as_bytes()).into())
    }
}

fn mac(key: &hmac::Key, binding: Binding<'_>) -> String {
    let (purpose, value) = match binding {
        Binding::Login(value) => ("login:", value),
        Binding::Session(value) => ("session:", value),
    };
    let mut context = hmac::Context::with_key(key);
    context.update(purpose.as_bytes());
    context.update(value.as_bytes());
    URL_SAFE_NO_PAD.encode(context.sign().as_ref())
}

/// Where a request says that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    SameOrigin,
    Foreign,
    /// A program, or a very old browser: neither header is there.
    Unsaid,
}

/// Reads `Origin` and, without one, `Sec-Fetch-Site`; each list holds all values of the header.
pub fn provenance(origins: &[&[u8]], fetch_sites: &[&[u8]], ours: &str) -> Provenance {
    let said = match (origins, fetch_sites) {
        ([], []) => return Provenance::Unsaid,
        ([origin], _) => *origin == ours.as_bytes(),
        ([], [site]) => *site == b"same-origin",
        _ => false,
    };
    if said {
        Provenance::SameOrigin
    } else {
        Provenance::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_the_form_that_it_was_made_for_and_no_other() {
        let csrf = Csrf::new(&[[1; 32]]);
        let token = csrf.token(Binding::Session("abc"));
        assert!(csrf.accepts(Binding::Session("abc"), &token));
        assert!(!csrf.accepts(Binding::Session("abd"), &token));
        assert!(!csrf.accepts(Binding::Login("abc"), &token));
        assert!(!csrf.accepts(Binding::Session("abc"), ""));
        assert!(!csrf.accepts(Binding::Session("abc"), &token[1..]));
        assert!(!Csrf::new(&[[2; 32]]).accepts(Binding::Session("abc"), &token));
    }

    #[test]
    fn a_token_survives_a_change_of_secrets_while_the_old_one_is_listed() {
        let old = Csrf::new(&[[1; 32]]).token(Binding::Login("b"));
        assert!(Csrf::new(&[[2; 32], [1; 32]]).accepts(Binding::Login("b"), &old));
    }

    #[test]
    fn without_any_secret_nothing_is_accepted() {
        let csrf = Csrf::new(&[]);
        assert!(!csrf.accepts(Binding::Login("b"), &csrf.token(Binding::Login("b"))));
    }

    #[test]
    fn the_origin_decides_and_sec_fetch_site_only_without_one() {
        let ours = "https://mlflow.example.com";
        let check = |origins: &[&str], sites: &[&str]| {
            let origins: Vec<&[u8]> = origins.iter().map(|text| text.as_bytes()).collect();
            let sites: Vec<&[u8]> = sites.iter().map(|text| text.as_bytes()).collect();
            provenance(&origins, &sites, ours)
        };
        assert_eq!(check(&[ours], &[]), Provenance::SameOrigin);
        assert_eq!(check(&[ours], &["cross-site"]), Provenance::SameOrigin);
        assert_eq!(check(&[], &["same-origin"]), Provenance::SameOrigin);
        assert_eq!(check(&[], &[]), Provenance::Unsaid);
        for foreign in [
            "null",
            "",
            "https://mlflow.example.com:8443",
            "http://mlflow.example.com",
            "https://evil.com",
        ] {
            assert_eq!(check(&[foreign], &["same-origin"]), Provenance::Foreign, "{foreign}");
        }
        for site in ["same-site", "cross-site", "none", ""] {
            assert_eq!(check(&[], &[site]), Provenance::Foreign, "{site}");
        }
        assert_eq!(check(&[ours, ours], &[]), Provenance::Foreign);
    }
}
