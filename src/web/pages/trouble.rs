//! The pages that say no, and why: refusals and errors.

use askama::Template;

use crate::domain::{Access, Caller, Reason, Via};
use crate::web::csrf::Binding;
use crate::web::words::{Fill, Words};

use super::{Page, Site, Spoken};

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

/// Where to go from a page that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    Start,
    SignIn,
    StartAgain,
    SignOut,
    Account,
    BackToAccount,
    TypeAgain,
    /// A path without the site's prefix.
    SignInAnew(&'a str),
    Admin,
}

impl<'a> Next<'a> {
    /// The path without the site's prefix, and what the button says.
    fn link(self, say: &'static Words) -> (&'a str, &'static str) {
        match self {
            Self::Start => ("/", say.back_to_start),
            Self::SignIn => ("/auth/login", say.sign_in),
            Self::StartAgain => ("/auth/login", say.start_again),
            Self::SignOut => ("/auth/logout", say.sign_out),
            Self::Account => ("/auth/account", say.your_account),
            Self::BackToAccount => ("/auth/account", say.back_to_account),
            Self::TypeAgain => ("/auth/device", say.type_again),
            Self::SignInAnew(path) => (path, say.sign_in_anew),
            Self::Admin => ("/auth/admin", say.back_to_admin),
        }
    }
}

/// Something went wrong, or is not there.
#[derive(Clone, Copy, Debug)]
pub struct Trouble<'a> {
    pub status: u16,
    /// One sentence: what happened and how to mend it. Never an internal cause.
    pub text: &'a str,
    /// More of it, in English.
    pub detail: Option<&'a str>,
    pub fault: Fault<'a>,
    pub request_id: Option<&'a str>,
    pub next: Option<Next<'a>>,
}

/// Somebody may not do something.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub caller: Option<&'a Caller>,
    /// Names of the roles that the caller holds.
    pub roles: &'a [String],
    pub reason: &'a Reason,
    /// What was not granted.
    pub missing: Option<&'a Access>,
    /// Where signing in as someone else comes back to; path with the site's prefix.
    pub return_to: &'a str,
    pub request_id: Option<&'a str>,
}

impl Spoken<'_> {
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
        let user = refused.caller.map(|caller| caller.identity.user.as_str());
        let said = self.say.reason(refused.reason, user, refused.missing);
        let page = RefusedPage {
            site: self.site(),
            missing: said.text,
            detail: said.detail,
            remedy: self.say.remedy(refused.reason.code, &self.site().whom()),
            who,
            rd: refused.return_to,
            home: self.home(),
            account: self.path("/auth/account"),
            login: self.path_with_rd("/auth/login", refused.return_to),
            logout: self.path("/auth/logout"),
            request_id: refused.request_id,
        };
        self.page(403, &self.signed_in_forms(), page)
    }

    /// Any other error, for a person.
    pub fn error(&self, trouble: &Trouble<'_>) -> Page {
        let page = ErrorPage {
            site: self.site(),
            status: trouble.status,
            title: title_of(trouble.status, self.say),
            text: trouble.text,
            detail: trouble.detail,
            fault: fault_in_words(trouble.fault, self.say),
            link: trouble.next.map(|next| {
                let (path, label) = next.link(self.say);
                (self.path(path), label)
            }),
            request_id: trouble.request_id,
        };
        self.page(trouble.status, "'none'", page)
    }
}

fn title_of(status: u16, say: &Words) -> &'static str {
    match status {
        400 => say.title_400,
        401 => say.title_401,
        403 => say.title_403,
        404 => say.title_404,
        405 => say.title_405,
        413 => say.title_413,
        429 => say.title_429,
        502 => say.title_502,
        503 => say.title_503,
        504 => say.title_504,
        _ => say.title_other,
    }
}

fn fault_in_words(fault: Fault<'_>, say: &Words) -> Option<String> {
    match fault {
        Fault::Request => None,
        Fault::Gateway => Some(say.fault_gateway.to_owned()),
        Fault::Upstream => Some(say.fault_upstream.to_owned()),
        Fault::Provider(label) => Some(say.fault_provider.with("provider", label).to_string()),
    }
}

struct Who<'a> {
    name: &'a str,
    provider: &'a str,
    groups: String,
    roles: String,
    csrf_token: Option<String>,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage<'a> {
    site: Site<'a>,
    missing: String,
    detail: Option<String>,
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
    site: Site<'a>,
    status: u16,
    title: &'a str,
    text: &'a str,
    detail: Option<&'a str>,
    fault: Option<String>,
    link: Option<(String, &'static str)>,
    request_id: Option<&'a str>,
}
