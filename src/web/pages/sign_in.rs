//! The pages of whoever comes and goes.

use askama::Template;

use crate::web::csrf::Binding;
use crate::web::words::Fill;

use super::{Page, Site, Spoken, origin_of};

/// The form of a provider that takes passwords.
#[derive(Clone, Copy, Debug)]
pub struct LoginForm<'a> {
    pub status: u16,
    pub provider: &'a str,
    pub label: &'a str,
    pub rd: &'a str,
    /// What was typed before.
    pub username: &'a str,
    pub problem: Option<&'a str>,
    pub csrf_token: &'a str,
    /// Whether there are other providers to go back to.
    pub others: bool,
    /// Of the request that had the problem.
    pub request_id: Option<&'a str>,
}

impl Spoken<'_> {
    /// The page where a person picks a provider: (id, label) of each.
    pub fn choose(&self, providers: &[(String, String)], rd: &str) -> Page {
        let choices = providers
            .iter()
            .map(|(id, label)| Choice {
                href: self.path_with_rd(&format!("/auth/login/{id}"), rd),
                label,
            })
            .collect();
        let page = ChoosePage {
            site: self.site(),
            choices,
        };
        self.page(200, "'self'", page)
    }

    pub fn login(&self, form: &LoginForm<'_>) -> Page {
        let page = LoginPage {
            site: self.site(),
            action: self.path(&format!("/auth/login/{}", form.provider)),
            label: form.label,
            rd: form.rd,
            username: form.username,
            problem: form.problem,
            csrf_token: form.csrf_token,
            others: form.others.then(|| self.path_with_rd("/auth/login", form.rd)),
            request_id: form.request_id,
        };
        self.page(form.status, &format!("'self'{}", self.after_sign_in), page)
    }

    /// A page that a browser leaves at once, on the way to the only provider: so that its script can keep the URL's fragment.
    pub fn onward(&self, label: &str, href: &str) -> Page {
        let page = OnwardPage {
            site: self.site(),
            title: self.say.signing_in,
            text: &self.say.one_moment_asks.with("provider", label).to_string(),
            href,
            keeps_fragment: true,
        };
        self.page(200, "'none'", page)
    }

    /// Signed out here; the browser goes on to end the provider's session too.
    pub fn signing_out(&self, url: &str) -> Page {
        let page = OnwardPage {
            site: self.site(),
            title: self.say.signed_out,
            text: self.say.one_moment_ends,
            href: url,
            keeps_fragment: false,
        };
        self.page(200, "'none'", page)
    }

    /// A form that a browser takes to a provider at once; without JavaScript, by its button.
    pub fn posting(&self, title: &str, text: &str, url: &str, fields: &[(&'static str, String)]) -> Page {
        let page = PostingPage {
            site: self.site(),
            title,
            text,
            url,
            fields,
        };
        // Browsers hold the provider's own redirects to this policy too, and where those lead is the provider's affair.
        let origin = origin_of(url).unwrap_or_default();
        self.page(200, &format!("{origin} https:"), page)
    }

    /// What an identity provider shows in a frame nobody sees, while it signs a browser out everywhere. No other site may.
    pub fn framed(&self, status: u16, issuer: &str) -> Page {
        let ancestors = origin_of(issuer).unwrap_or_else(|| "'none'".to_owned());
        let policy = format!("default-src 'none'; frame-ancestors {ancestors}; form-action 'none'; base-uri 'none'");
        let headers = vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("content-language", self.say.tag.to_owned()),
            ("vary", "Accept-Language".to_owned()),
            ("content-security-policy", policy),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("referrer-policy", "no-referrer".to_owned()),
        ];
        let page = FramedPage { site: self.site() };
        Page {
            status,
            html: page.render().unwrap_or_default(),
            headers,
        }
    }

    pub fn signed_out(&self) -> Page {
        let page = SignedOutPage {
            site: self.site(),
            login: self.path("/auth/login"),
        };
        self.page(200, "'none'", page)
    }

    /// Asks before signing out; the answer to a GET, which changes nothing.
    pub fn sign_out(&self, user: &str, session: &str) -> Page {
        let page = SignOutPage {
            site: self.site(),
            user,
            logout: self.path("/auth/logout"),
            home: self.home(),
            csrf_token: self.csrf.token(Binding::Session(session)),
        };
        self.page(405, &self.signed_in_forms(), page)
            .with_header("allow", "POST")
    }
}

struct Choice<'a> {
    href: String,
    label: &'a str,
}

#[derive(Template)]
#[template(path = "framed.html")]
struct FramedPage<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "choose.html")]
struct ChoosePage<'a> {
    site: Site<'a>,
    choices: Vec<Choice<'a>>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    site: Site<'a>,
    action: String,
    label: &'a str,
    rd: &'a str,
    username: &'a str,
    problem: Option<&'a str>,
    csrf_token: &'a str,
    others: Option<String>,
    request_id: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "onward.html")]
struct OnwardPage<'a> {
    site: Site<'a>,
    title: &'a str,
    text: &'a str,
    href: &'a str,
    keeps_fragment: bool,
}

#[derive(Template)]
#[template(path = "posting.html")]
struct PostingPage<'a> {
    site: Site<'a>,
    title: &'a str,
    text: &'a str,
    url: &'a str,
    fields: &'a [(&'static str, String)],
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage<'a> {
    site: Site<'a>,
    login: String,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    site: Site<'a>,
    user: &'a str,
    logout: String,
    home: &'a str,
    csrf_token: String,
}
