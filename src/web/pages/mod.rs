//! The gateway's own pages as typed values: what each one shows, and the headers that every one of them carries.

mod notice;
mod sign_in;
mod trouble;

pub use sign_in::LoginForm;
pub(super) use trouble::Next;
pub use trouble::{Fault, Refused, Trouble};

use std::fmt::Write as _;
use std::ops::Deref;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use url::form_urlencoded;

use crate::config::{Config, ProviderKind};

use super::assets::{Asset, Assets, LOGOS};
use super::csrf::Csrf;
use super::words::{Fill, Words};
use notice::{Line, lines};

/// A rendered page.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: u16,
    pub html: String,
    /// Security headers of this page, lower-case names, its content policy among them.
    pub headers: Vec<(&'static str, String)>,
}

impl Page {
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Page> for HttpResponse {
    fn from(page: Page) -> Self {
        let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Self::build(status);
        for header in page.headers {
            response.append_header(header);
        }
        response.body(page.html)
    }
}

/// What all pages of one configuration share.
pub struct Pages {
    house: House,
    assets: Assets,
    csrf: Csrf,
    /// Origins that a form on our pages may lead to besides our own: for the sign-in form, and for signing out.
    after_sign_in: String,
    after_sign_out: Vec<String>,
    https: bool,
}

/// What is around every page, whatever its language.
pub(super) struct House {
    pub(super) base: String,
    pub(super) home: String,
    /// The name on every page.
    pub(super) name: String,
    operator: Option<String>,
    notice: Option<Vec<Line>>,
    /// By language.
    notices: Vec<(&'static str, Vec<Line>)>,
    pub(super) icon: String,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) submit: String,
    pub(super) theme: Option<String>,
    pub(super) logo: Option<String>,
}

/// What is around a page in one language.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    house: &'a House,
    pub(super) say: &'static Words,
}

impl Deref for Site<'_> {
    type Target = House;

    fn deref(&self) -> &House {
        self.house
    }
}

impl Site<'_> {
    /// The operator's own words, in this language where there are such.
    pub(super) fn notice(&self) -> &[Line] {
        let own = self.house.notices.iter().find(|(tag, _)| *tag == self.say.tag);
        own.map(|(_, lines)| lines)
            .or(self.house.notice.as_ref())
            .map_or(&[], Vec::as_slice)
    }

    /// Who can help.
    pub(super) fn whom(&self) -> String {
        match &self.house.operator {
            Some(operator) => self.say.whom_at.with("operator", operator).to_string(),
            None => self.say.whom.to_owned(),
        }
    }
}

impl Pages {
    /// # Errors
    /// When the operator's logo or colour cannot be used.
    pub fn new(config: &Config) -> Result<Self, String> {
        let assets = Assets::new(&config.pages)?;
        let base = config.base_path().to_owned();
        let url = |name: &str| assets.path(name).map(|path| format!("{base}{path}"));
        let house = House {
            home: format!("{base}/"),
            name: config.pages.operator.clone().unwrap_or_else(|| "MLflow".to_owned()),
            operator: config.pages.operator.clone(),
            notice: config.pages.notice.as_deref().map(lines),
            notices: config
                .pages
                .notices
                .iter()
                .map(|(tag, text)| (*tag, lines(text)))
                .collect(),
            icon: url("icon.svg").unwrap_or_default(),
            style: url("style.css").unwrap_or_default(),
            script: url("fragment.js").unwrap_or_default(),
            submit: url("submit.js").unwrap_or_default(),
            theme: url("theme.css"),
            logo: LOGOS.iter().find_map(|name| url(name)),
            base,
        };
        let scheme = config.public_url.scheme();
        let mut after_sign_in = String::new();
        for host in &config.check.redirect_hosts {
            let any_port = if host.contains(':') { "" } else { ":*" };
            let _ = write!(after_sign_in, " {scheme}://{host}{any_port}");
        }
        let after_sign_out = config.providers.iter().filter_map(|provider| match &provider.kind {
            ProviderKind::Oidc(oidc) => origin_of(&oidc.issuer),
            // Where a SAML provider signs out may be known later only; a page of ours leads there.
            ProviderKind::Local(_) | ProviderKind::Ldap(_) | ProviderKind::Saml(_) => None,
        });
        Ok(Self {
            csrf: Csrf::new(&config.session.secrets),
            after_sign_out: after_sign_out.collect(),
            after_sign_in,
            https: config.is_https(),
            house,
            assets,
        })
    }

    /// The same pages in one language.
    pub fn spoken(&self, say: &'static Words) -> Spoken<'_> {
        Spoken { pages: self, say }
    }

    pub fn csrf(&self) -> &Csrf {
        &self.csrf
    }

    pub(super) fn asset(&self, hash: &str, name: &str) -> Option<&Asset> {
        self.assets.find(hash, name)
    }

    pub(super) fn home(&self) -> &str {
        &self.house.home
    }

    /// A path of ours with the site's own prefix.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.house.base)
    }

    /// A path of ours that remembers where to return to.
    pub fn path_with_rd(&self, path: &str, rd: &str) -> String {
        if rd == self.house.home {
            return self.path(path);
        }
        let rd: String = form_urlencoded::byte_serialize(rd.as_bytes()).collect();
        format!("{}{path}?rd={rd}", self.house.base)
    }

    /// The sign-in page of one provider, on the way back to a page.
    pub fn path_at_provider(&self, provider: &str, rd: &str) -> String {
        let path = self.path_with_rd("/auth/login", rd);
        let between = if path.contains('?') { '&' } else { '?' };
        format!("{path}{between}provider={provider}")
    }

    /// Where a sign-in at one provider begins.
    pub fn path_of_provider(&self, provider: &str, rd: &str, name: Option<&str>) -> String {
        let path = self.path_with_rd(&format!("/auth/login/{provider}"), rd);
        let Some(name) = name else { return path };
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}login_hint={name}")
    }

    /// Whether a form of our signed-in pages may lead to this URL: browsers hold redirects to the page's policy too.
    pub fn form_may_lead_to(&self, url: &str) -> bool {
        origin_of(url).is_some_and(|origin| self.after_sign_out.contains(&origin))
    }

    /// Where forms of somebody who is signed in may lead: home, and to the providers' own sign-out.
    pub(super) fn signed_in_forms(&self) -> String {
        let mut forms = "'self'".to_owned();
        for origin in &self.after_sign_out {
            forms.push(' ');
            forms.push_str(origin);
        }
        forms
    }
}

/// The pages in one language.
#[derive(Clone, Copy)]
pub struct Spoken<'a> {
    pages: &'a Pages,
    pub(super) say: &'static Words,
}

impl Deref for Spoken<'_> {
    type Target = Pages;

    fn deref(&self) -> &Pages {
        self.pages
    }
}

impl<'a> Spoken<'a> {
    pub(super) fn site(&self) -> Site<'a> {
        Site {
            house: &self.pages.house,
            say: self.say,
        }
    }

    pub(super) fn page(&self, status: u16, form_action: &str, template: impl Template) -> Page {
        // Writing to a string does not fail; were it to, an empty page is safer than half of one.
        let html = template.render().unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action {form_action}; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        let mut headers = vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("content-language", self.say.tag.to_owned()),
            ("vary", "Accept-Language".to_owned()),
            ("content-security-policy", policy),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("x-frame-options", "DENY".to_owned()),
            // Not no-referrer: with that, browsers send `Origin: null` with our own forms.
            ("referrer-policy", "same-origin".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
        ];
        if self.pages.https {
            headers.push(("strict-transport-security", "max-age=31536000".to_owned()));
        }
        Page { status, html, headers }
    }
}

fn origin_of(url: &str) -> Option<String> {
    let origin = url::Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}
