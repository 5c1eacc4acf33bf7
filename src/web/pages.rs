//! The gateway's own pages as typed values: what each one shows, and the headers that every one of them carries.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use url::form_urlencoded;

use crate::config::{Config, ProviderKind};
use crate::domain::{Caller, Reason, ReasonCode, Via};

use super::assets::{Asset, Assets, LOGOS};
use super::csrf::{Binding, Csrf};

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

/// Whose fault an error is: said plainly on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// The request's own.
    Request,
    Gateway,
    Upstream,
    /// The identity provider with this label.
    Provider(&'a str),
}

/// Something went wrong, or is not there.
#[derive(Clone, Copy, Debug)]
pub struct Trouble<'a> {
    pub status: u16,
    /// One sentence: what happened and how to mend it. Never an internal cause.
    pub text: &'a str,
    pub fault: Fault<'a>,
    pub request_id: Option<&'a str>,
    /// Where to go from here: path (without the site's prefix) and what the button says.
    pub next: Option<(&'a str, &'a str)>,
}

/// Somebody may not do something.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub caller: Option<&'a Caller>,
    /// Names of the roles that the caller holds.
    pub roles: &'a [String],
    pub reason: &'a Reason,
    /// Where signing in as someone else comes back to; path with the site's prefix.
    pub return_to: &'a str,
    pub request_id: Option<&'a str>,
}

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

/// What all pages of one configuration share.
pub struct Pages {
    site: Site,
    assets: Assets,
    csrf: Csrf,
    /// Origins that a form on our pages may lead to besides our own: for the sign-in form, and for signing out.
    after_sign_in: String,
    after_sign_out: Vec<String>,
    https: bool,
}

pub(super) struct Site {
    pub(super) base: String,
    pub(super) home: String,
    pub(super) operator: String,
    pub(super) notice: Option<Vec<String>>,
    pub(super) icon: String,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) theme: Option<String>,
    pub(super) logo: Option<String>,
}

impl Pages {
    /// # Errors
    /// When the operator's logo or colour cannot be used.
    pub fn new(config: &Config) -> Result<Self, String> {
        let assets = Assets::new(&config.pages)?;
        let base = config.base_path().to_owned();
        let url = |name: &str| assets.path(name).map(|path| format!("{base}{path}"));
        let site = Site {
            home: format!("{base}/"),
            operator: config.pages.operator.clone().unwrap_or_else(|| "MLflow".to_owned()),
            notice: config
                .pages
                .notice
                .as_ref()
                .map(|notice| notice.lines().map(str::to_owned).collect()),
            icon: url("icon.svg").unwrap_or_default(),
            style: url("style.css").unwrap_or_default(),
            script: url("fragment.js").unwrap_or_default(),
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
            ProviderKind::Local(_) | ProviderKind::Ldap(_) => None,
        });
        Ok(Self {
            csrf: Csrf::new(&config.session.secrets),
            after_sign_out: after_sign_out.collect(),
            after_sign_in,
            https: config.is_https(),
            site,
            assets,
        })
    }

    pub fn csrf(&self) -> &Csrf {
        &self.csrf
    }

    pub(super) fn asset(&self, hash: &str, name: &str) -> Option<&Asset> {
        self.assets.find(hash, name)
    }

    /// A path of ours with the site's own prefix.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.site.base)
    }

    /// A path of ours that remembers where to return to.
    pub fn path_with_rd(&self, path: &str, rd: &str) -> String {
        if rd == self.site.home {
            return self.path(path);
        }
        let rd: String = form_urlencoded::byte_serialize(rd.as_bytes()).collect();
        format!("{}{path}?rd={rd}", self.site.base)
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

    /// The page where a person picks a provider: (id, label) of each.
    pub fn choose(&self, providers: &[(String, String)], rd: &str) -> Page {
        let choices = providers
            .iter()
            .map(|(id, label)| Choice {
                href: self.path_with_rd(&format!("/auth/login/{id}"), rd),
                label,
            })
            .collect();
        self.page(
            200,
            "'self'",
            ChoosePage {
                site: &self.site,
                choices,
            },
        )
    }

    pub fn login(&self, form: &LoginForm<'_>) -> Page {
        let page = LoginPage {
            site: &self.site,
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
            site: &self.site,
            title: "Signing in",
            text: &format!("One moment: {label} asks who you are."),
            href,
            keeps_fragment: true,
        };
        self.page(200, "'none'", page)
    }

    /// Signed out here; the browser goes on to end the provider's session too.
    pub fn signing_out(&self, url: &str) -> Page {
        let page = OnwardPage {
            site: &self.site,
            title: "You are signed out",
            text: "One moment: your identity provider ends its session too.",
            href: url,
            keeps_fragment: false,
        };
        self.page(200, "'none'", page)
    }

    /// What an identity provider shows in a frame nobody sees, while it signs a browser out everywhere. No other site may.
    pub fn framed(&self, status: u16, issuer: &str) -> Page {
        let ancestors = origin_of(issuer).unwrap_or_else(|| "'none'".to_owned());
        let policy = format!("default-src 'none'; frame-ancestors {ancestors}; form-action 'none'; base-uri 'none'");
        let headers = vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("content-security-policy", policy),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("referrer-policy", "no-referrer".to_owned()),
        ];
        Page {
            status,
            html: FramedPage.render().unwrap_or_default(),
            headers,
        }
    }

    pub fn signed_out(&self) -> Page {
        self.page(
            200,
            "'none'",
            SignedOutPage {
                site: &self.site,
                login: self.path("/auth/login"),
            },
        )
    }

    /// Asks before signing out; the answer to a GET, which changes nothing.
    pub fn sign_out(&self, user: &str, session: &str) -> Page {
        let page = SignOutPage {
            site: &self.site,
            user,
            logout: self.path("/auth/logout"),
            home: &self.site.home,
            csrf_token: self.csrf.token(Binding::Session(session)),
        };
        self.page(405, &self.signed_in_forms(), page)
            .with_header("allow", "POST")
    }

    /// 403 for a person: what is missing, whom to ask, who is signed in, and the way to be someone else.
    pub fn refused(&self, refused: &Refused<'_>) -> Page {
        let who = refused.caller.map(|caller| Who {
            name: caller.identity.display_name.as_deref().unwrap_or(&caller.identity.user),
            provider: &caller.identity.provider,
            groups: caller.identity.groups.join(", "),
            roles: refused.roles.join(", "),
            csrf_token: match (&caller.credential, caller.via) {
                (Some(session), Via::Session) => Some(self.csrf.token(Binding::Session(session))),
                _ => None,
            },
        });
        let page = RefusedPage {
            site: &self.site,
            missing: &refused.reason.text,
            remedy: self.remedy(refused.reason.code),
            who,
            rd: refused.return_to,
            home: &self.site.home,
            account: self.path("/auth/account"),
            login: self.path_with_rd("/auth/login", refused.return_to),
            logout: self.path("/auth/logout"),
            request_id: refused.request_id,
        };
        self.page(403, &self.signed_in_forms(), page)
    }

    fn remedy(&self, code: ReasonCode) -> String {
        let operator = match self.site.operator.as_str() {
            "MLflow" => "the people who run this MLflow",
            name => &format!("the people who run MLflow at {name}"),
        };
        match code {
            ReasonCode::NoRole => format!("Ask {operator} to give a role to you or to one of your groups."),
            ReasonCode::NotGranted | ReasonCode::Denied => {
                format!("If you need it, ask {operator} for a role that allows it.")
            }
            ReasonCode::UnknownRoute => {
                format!("Only what the gateway knows reaches MLflow. If MLflow itself sent you here, tell {operator}.")
            }
            ReasonCode::CrossSite => {
                "The request did not come from this site. Go back to MLflow and try again there.".to_owned()
            }
            ReasonCode::AccountRefused | ReasonCode::ProviderRefused => {
                format!("Try another account, or ask {operator} what is missing.")
            }
            ReasonCode::NetworkRefused => format!("Connect from a network that is allowed, or ask {operator}."),
            _ => format!("If you think that this is wrong, ask {operator}."),
        }
    }

    /// Any other error, for a person.
    pub fn error(&self, trouble: &Trouble<'_>) -> Page {
        let page = ErrorPage {
            site: &self.site,
            status: trouble.status,
            title: title_of(trouble.status),
            text: trouble.text,
            fault: fault_in_words(trouble),
            link: trouble.next.map(|(path, label)| Link {
                href: self.path(path),
                label,
            }),
            request_id: trouble.request_id,
        };
        self.page(trouble.status, "'none'", page)
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    pub(super) fn home(&self) -> &str {
        &self.site.home
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

    pub(super) fn page(&self, status: u16, form_action: &str, template: impl Template) -> Page {
        // Writing to a string does not fail; were it to, an empty page is safer than half of one.
        let html = template.render().unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action {form_action}; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        let mut headers = vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("content-security-policy", policy),
            ("cache-control", "no-store".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            ("x-frame-options", "DENY".to_owned()),
            // Not no-referrer: with that, browsers send `Origin: null` with our own forms.
            ("referrer-policy", "same-origin".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
        ];
        if self.https {
            headers.push(("strict-transport-security", "max-age=31536000".to_owned()));
        }
        Page { status, html, headers }
    }
}

fn origin_of(url: &str) -> Option<String> {
    let origin = url::Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

fn title_of(status: u16) -> &'static str {
    match status {
        400 => "That request cannot be right",
        401 => "Sign in first",
        403 => "That is refused",
        404 => "There is nothing here",
        405 => "That does not work this way",
        413 => "That is too large",
        429 => "Too many attempts",
        502 => "MLflow failed",
        503 => "Not available right now",
        504 => "MLflow did not answer in time",
        _ => "Something went wrong",
    }
}

fn fault_in_words(trouble: &Trouble<'_>) -> Option<String> {
    match trouble.fault {
        Fault::Request => None,
        Fault::Gateway => {
            Some("The fault is the gateway's, not yours and not MLflow's. Try again in a moment.".to_owned())
        }
        Fault::Upstream => Some("The fault is MLflow's; the gateway in front of it works.".to_owned()),
        Fault::Provider(label) => Some(format!(
            "The fault is with the sign-in service {label}. Try again in a moment."
        )),
    }
}

struct Choice<'a> {
    href: String,
    label: &'a str,
}

struct Link<'a> {
    href: String,
    label: &'a str,
}

struct Who<'a> {
    name: &'a str,
    provider: &'a str,
    groups: String,
    roles: String,
    csrf_token: Option<String>,
}

#[derive(Template)]
#[template(path = "framed.html")]
struct FramedPage;

#[derive(Template)]
#[template(path = "choose.html")]
struct ChoosePage<'a> {
    site: &'a Site,
    choices: Vec<Choice<'a>>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    site: &'a Site,
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
    site: &'a Site,
    title: &'a str,
    text: &'a str,
    href: &'a str,
    keeps_fragment: bool,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage<'a> {
    site: &'a Site,
    login: String,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    site: &'a Site,
    user: &'a str,
    logout: String,
    home: &'a str,
    csrf_token: String,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'a> {
    site: &'a Site,
    missing: &'a str,
    remedy: String,
    who: Option<Who<'a>>,
    rd: &'a str,
    home: &'a str,
    account: String,
    login: String,
    logout: String,
    request_id: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    site: &'a Site,
    status: u16,
    title: &'a str,
    text: &'a str,
    fault: Option<String>,
    link: Option<Link<'a>>,
    request_id: Option<&'a str>,
}
