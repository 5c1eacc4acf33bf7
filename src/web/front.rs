//! What the handlers of our own pages stand on: the parts of one configuration, and what each request shows of its sender.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use url::form_urlencoded;

use crate::audit::Http;
use crate::config::Config;
use crate::domain::Reason;
use crate::login::{Browser, Login, NotSignedIn, ReturnTo, Visitor};
use crate::pipeline::is_navigation;
use crate::policy::Policy;
use crate::sessions::cookie::Cookies;
use crate::sessions::{Session, Sessions};

use super::csrf::{Provenance, provenance};
use super::guard;
use super::pages::{Fault, Next, Page, Pages, Refused, Spoken, Trouble};
use super::words::{Fill, Said, Words};

/// The parts of one configuration. A reload swaps all of them at once: `web::Data<ArcSwap<Front>>`.
pub struct Front {
    pub config: Arc<Config>,
    pub login: Login,
    pub pages: Arc<Pages>,
    pub cookies: Cookies,
    pub sessions: Arc<Sessions>,
    pub policy: Arc<Policy>,
}

/// One request to one of our own pages.
pub(super) struct Here {
    front: Arc<Front>,
    request: HttpRequest,
    session: Option<String>,
    browser: Option<Browser>,
    address: IpAddr,
    request_id: Option<String>,
    say: &'static Words,
}

impl FromRequest for Here {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(front) = request.app_data::<web::Data<ArcSwap<Front>>>() else {
            return ready(Err(actix_web::error::ErrorInternalServerError(
                "the pages are not set up",
            )));
        };
        ready(Ok(Self::new(front.load_full(), request.clone())))
    }
}

impl Here {
    pub(super) fn new(front: Arc<Front>, request: HttpRequest) -> Self {
        let cookies = || request.headers().get_all("cookie").map(|value| value.as_bytes());
        let session = front.cookies.session(cookies()).one().map(str::to_owned);
        let browser = front.cookies.login(cookies()).one().and_then(Browser::parse);
        let seen = guard::seen(&request);
        let peer = request
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let address = seen.as_ref().map_or(peer, |seen| seen.address);
        Self {
            front,
            session,
            browser,
            address,
            request_id: seen.map(|seen| seen.id.as_str().to_owned()),
            say: spoken_by(&request),
            request,
        }
    }

    pub(super) fn front(&self) -> &Front {
        &self.front
    }

    pub(super) fn login(&self) -> &Login {
        &self.front.login
    }

    /// In the language that the browser asks for.
    pub(super) fn pages(&self) -> Spoken<'_> {
        self.front.pages.spoken(self.say)
    }

    pub(super) fn say(&self) -> &'static Words {
        self.say
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The value of `Authorization`, where there is one; of two, `None` inside.
    pub(super) fn authorization(&self) -> Option<Option<&[u8]>> {
        let mut values = self.headers().get_all("authorization");
        let first = values.next()?;
        Some(values.next().is_none().then(|| first.as_bytes()))
    }

    /// Whether this asks for data rather than for a page; a form that was sent is a person's.
    pub(super) fn is_program(&self) -> bool {
        self.request.method() != Method::POST && !is_navigation(&self.request)
    }

    pub(super) fn browser(&self) -> Option<&Browser> {
        self.browser.as_ref()
    }

    pub(super) fn visitor(&self) -> Visitor<'_> {
        Visitor {
            address: self.address,
            request_id: self.request_id.as_deref(),
            session: self.session.as_deref(),
            browser: self.browser.as_ref(),
        }
    }

    /// The decoded query, in order, duplicates included.
    pub(super) fn query(&self) -> Fields {
        Fields::parse(self.request.query_string().as_bytes())
    }

    /// As it came.
    pub(super) fn raw_query(&self) -> &str {
        self.request.query_string()
    }

    /// Where the request wants to return to, checked.
    pub(super) fn return_to(&self) -> ReturnTo {
        self.login().return_to(self.query().one("rd").unwrap_or_default())
    }

    /// The live session behind the cookie.
    pub(super) async fn session(&self) -> Result<Option<Arc<Session>>, NotSignedIn> {
        match self.visitor().session {
            Some(cookie) => Ok(self.front.sessions.find(cookie).await?),
            None => Ok(None),
        }
    }

    /// Records that one of our own pages refused, and whom where a session tells.
    pub(super) async fn note_refusal(&self, http: Http, reason: &Reason) {
        let session = self.session().await.ok().flatten();
        self.login()
            .note_refused_page(session.as_deref(), http, reason, self.visitor())
            .await;
    }

    pub(super) fn provenance(&self) -> Provenance {
        let all = |name: &str| {
            self.headers()
                .get_all(name)
                .map(|value| value.as_bytes())
                .collect::<Vec<_>>()
        };
        provenance(&all("origin"), &all("sec-fetch-site"), &self.front.config.origin())
    }

    /// On to a URL that is ours or was checked.
    pub(super) fn redirect(&self, status: StatusCode, location: &str) -> HttpResponse {
        HttpResponse::build(status)
            .insert_header(("location", location))
            .insert_header(("cache-control", "no-store"))
            .insert_header(("referrer-policy", "same-origin"))
            .finish()
    }

    pub(super) fn see_other(&self, location: &str) -> HttpResponse {
        self.redirect(StatusCode::SEE_OTHER, location)
    }

    pub(super) fn trouble(&self, status: u16, text: &str, fault: Fault<'_>, next: Option<Next<'_>>) -> Page {
        let said = Said {
            text: text.to_owned(),
            detail: None,
        };
        self.trouble_told(status, &said, fault, next)
    }

    /// Where more is known than the person's language says.
    pub(super) fn trouble_told(&self, status: u16, said: &Said, fault: Fault<'_>, next: Option<Next<'_>>) -> Page {
        self.pages().error(&Trouble {
            status,
            text: &said.text,
            detail: said.detail.as_deref(),
            fault,
            request_id: self.request_id.as_deref(),
            next,
        })
    }

    /// The page for whoever was not signed in, and could not be asked again at once.
    pub(super) fn not_signed_in(&self, why: &NotSignedIn, label: &str) -> Page {
        const AGAIN: Option<Next<'static>> = Some(Next::StartAgain);
        // `login.refused` is in the trail.
        guard::is_noted(&self.request);
        let say = self.say;
        match why {
            NotSignedIn::UnknownProvider => self.trouble(404, say.no_such_way, Fault::Request, Some(Next::SignIn)),
            NotSignedIn::BadPassword => self.trouble(401, say.wrong_password, Fault::Request, AGAIN),
            NotSignedIn::TooManyAttempts(wait) => {
                let seconds = wait.as_secs().max(1);
                let text = say.too_many_attempts.with("time", say.duration(seconds)).to_string();
                self.trouble(429, &text, Fault::Request, None)
                    .with_header("retry-after", seconds.to_string())
            }
            NotSignedIn::Refused(reason) => self.pages().refused(&Refused {
                caller: None,
                roles: &[],
                reason,
                missing: None,
                return_to: self.login().return_to("").as_str(),
                request_id: self.request_id.as_deref(),
            }),
            NotSignedIn::StaleAttempt => self.trouble(400, say.stale_attempt, Fault::Request, AGAIN),
            NotSignedIn::ProviderAway => {
                let text = say.provider_away.with("provider", label).to_string();
                self.trouble(503, &text, Fault::Provider(label), AGAIN)
                    .with_header("retry-after", "5")
            }
            NotSignedIn::StoreAway => self
                .trouble(503, say.store_away, Fault::Gateway, None)
                .with_header("retry-after", "5"),
            NotSignedIn::TrailAway => self
                .trouble(503, say.trail_away, Fault::Gateway, None)
                .with_header("retry-after", "5"),
        }
    }
}

/// The language that a browser asks for.
pub(super) fn spoken_by(request: &HttpRequest) -> &'static Words {
    let values = request.headers().get_all("accept-language");
    Words::wanted(values.map(|value| value.as_bytes()))
}

/// Decoded form or query fields, in order.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a field that is there exactly once.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    pub(super) fn as_slice(&self) -> &[(String, String)] {
        &self.0
    }
}

/// Larger than any form of ours. Bytes.
pub(super) const FORM_LIMIT: usize = 16 * 1024;

/// A posted form; `None` for what is no form, or one that is not ours.
pub(super) fn form(headers: &HeaderMap, body: &[u8]) -> Option<Fields> {
    let content_type = headers.get("content-type")?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        .then(|| Fields::parse(body))
}
