//! A client of the authorization server, as RFC 6749 describes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::Url;

use super::gateway::Gateway;
use super::http::{Request, Response};

/// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const CALLBACK: &str = "http://127.0.0.1:8400/callback";
pub const CLI: &str = "mlgate-cli";

/// What a terminal asks for, as query or form.
pub fn asked() -> Vec<(&'static str, &'static str)> {
    vec![
        ("response_type", "code"),
        ("client_id", CLI),
        ("redirect_uri", CALLBACK),
        ("state", "st&ate"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

pub fn query(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// A field of a redirect's query.
pub fn said(location: &str, name: &str) -> Option<String> {
    let url = Url::parse(location).unwrap_or_else(|error| panic!("{location}: {error}"));
    url.query_pairs()
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.into_owned())
}

/// The hidden field of a page's form.
pub fn hidden<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1)?;
    field.split('"').next()
}

impl Gateway {
    pub fn authorize_page(&self, cookie: &str, fields: &[(&str, &str)]) -> Response {
        let request = Request::get(&format!("/auth/oauth2/authorize?{}", query(fields))).navigation();
        self.send(&request.header("Cookie", cookie))
    }

    /// Says yes or no on the consent page; where the browser is sent.
    pub fn consent(&self, cookie: &str, fields: &[(&str, &str)], decision: &str) -> String {
        let page = self.authorize_page(cookie, fields);
        assert_eq!(page.status, 200, "{}", page.text());
        let text = page.text();
        let mut form = fields.to_vec();
        form.extend([
            ("csrf_token", hidden(&text, "csrf_token").unwrap()),
            ("decision", decision),
        ]);
        let answer = self.send_form("/auth/oauth2/authorize", cookie, &form);
        assert_eq!(answer.status, 303, "{}", answer.text());
        answer.header("location").unwrap().to_owned()
    }

    /// A form of a page of ours, as the browser sends it.
    pub fn send_form(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
        let request = Request::new("POST", path).navigation().form(fields);
        self.send(&request.header("Cookie", cookie).header("Origin", &self.origin()))
    }

    pub fn code(&self, cookie: &str) -> String {
        said(&self.consent(cookie, &asked(), "allow"), "code").unwrap()
    }

    pub fn at_token(&self, fields: &[(&str, &str)]) -> Response {
        self.send(&Request::new("POST", "/auth/oauth2/token").form(fields))
    }

    pub fn redeem(&self, code: &str) -> Response {
        self.at_token(&[
            ("grant_type", "authorization_code"),
            ("client_id", CLI),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ])
    }

    pub fn refresh(&self, refresh_token: &str) -> Response {
        self.at_token(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLI),
            ("refresh_token", refresh_token),
        ])
    }

    /// Signs a terminal in by the loopback flow; the token endpoint's answer.
    pub fn terminal(&self, user: &str) -> Value {
        let answer = self.redeem(&self.code(&self.sign_in(user)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The status of a read of MLflow's with a bearer token.
    pub fn reads_with(&self, token: &str) -> Response {
        let request = Request::get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0");
        self.send(&request.header("Authorization", &format!("Bearer {token}")))
    }
}

/// `Authorization: Basic` of a client.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// The OAuth error of an answer, which must look as RFC 6749, 5.2 says.
pub fn error(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.text());
    let told = answer.json();
    (answer.status, told["error"].as_str().unwrap().to_owned())
}
