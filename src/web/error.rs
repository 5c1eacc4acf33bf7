//! How a stopped request is told: MLflow's JSON to programs, a page to people, the way to sign in to who only has to.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use arc_swap::ArcSwap;
use serde_json::json;

use crate::audit::Outcome;
use crate::domain::{Reason, ReasonCode};
use crate::pipeline::{Gate, Halted, Stopped, Told, is_navigation};

use super::front::Front;
use super::guard;
use super::pages::{Fault, Pages, Refused, Trouble};

/// What was asked for, and by whom.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) is_navigation: bool,
    /// The path and query on this site, or the whole URL on another.
    pub(super) asked: &'a str,
    /// Of this site, for who is elsewhere; else empty.
    pub(super) origin: &'a str,
}

impl<'a> Asking<'a> {
    pub(super) fn of(request: &'a HttpRequest) -> Self {
        Self {
            is_navigation: is_navigation(request),
            asked: request.uri().path_and_query().map_or("/", |asked| asked.as_str()),
            origin: "",
        }
    }

    /// Where somebody who is stopped for not being signed in becomes so.
    pub(super) fn sign_in(&self, pages: &Pages, stopped: &Stopped) -> Option<String> {
        let path = match stopped {
            Stopped::AskAgain(provider) => pages.path_at_provider(provider, self.asked),
            stopped if stopped.told("").status == 401 => pages.path_with_rd("/auth/login", self.asked),
            _ => return None,
        };
        Some(format!("{}{path}", self.origin))
    }
}

/// Answers a request that ended early, and closes its record first.
pub(super) async fn answer(
    asking: &Asking<'_>,
    gate: &Gate,
    pages: &Pages,
    request_id: &str,
    halted: Halted,
) -> HttpResponse {
    let Halted { stopped, mut record } = halted;
    let mut told = stopped.told(&gate.login_url());
    let response = render(asking, pages, request_id, &stopped, &told);
    let length = match actix_web::body::MessageBody::size(response.body()) {
        actix_web::body::BodySize::Sized(length) => length,
        actix_web::body::BodySize::None | actix_web::body::BodySize::Stream => 0,
    };
    log(&stopped, request_id);
    record.answered(response.status().as_u16(), length);
    let outcome = if told.status >= 500 || told.status == 499 {
        Outcome::Failed
    } else {
        Outcome::Refused
    };
    match record.close(outcome, &told.reason).await {
        Ok(()) => response,
        Err(_) => {
            told = Stopped::TrailAway.told(&gate.login_url());
            render(asking, pages, request_id, &Stopped::TrailAway, &told)
        }
    }
}

/// The cause, which the answer does not tell.
fn log(stopped: &Stopped, request_id: &str) {
    match stopped {
        Stopped::Upstream(error) => tracing::warn!(request_id, %error, "MLflow failed"),
        Stopped::NotUnderstood(error) => tracing::info!(request_id, %error, "a request was not understood"),
        Stopped::StoreAway | Stopped::TrailAway | Stopped::ProviderAway | Stopped::IssuerAway | Stopped::Busy => {
            tracing::warn!(request_id, ?stopped, "the gateway cannot serve");
        }
        Stopped::Network
        | Stopped::HeadersTooLarge
        | Stopped::Malformed(_)
        | Stopped::Elsewhere
        | Stopped::UnknownHost
        | Stopped::NotSignedIn
        | Stopped::AskAgain(_)
        | Stopped::BadCredential
        | Stopped::BadJwt(_)
        | Stopped::CrossSite
        | Stopped::TooOften(_)
        | Stopped::Refused(_)
        | Stopped::TooSlow
        | Stopped::ClientLeft => {}
    }
}

fn render(asking: &Asking<'_>, pages: &Pages, request_id: &str, stopped: &Stopped, told: &Told) -> HttpResponse {
    if !asking.is_navigation {
        return for_program(told, request_id);
    }
    match stopped {
        Stopped::NotSignedIn | Stopped::AskAgain(_) => match asking.sign_in(pages, stopped) {
            Some(location) => sign_in(&location),
            None => for_program(told, request_id),
        },
        Stopped::Refused(refusal) => {
            let page = pages.refused(&Refused {
                caller: refusal.caller.as_ref(),
                roles: &refusal.roles.names(),
                reason: &told.reason,
                return_to: asking.asked,
                request_id: Some(request_id),
            });
            page.into()
        }
        Stopped::Network
        | Stopped::HeadersTooLarge
        | Stopped::Malformed(_)
        | Stopped::Elsewhere
        | Stopped::UnknownHost
        | Stopped::BadCredential
        | Stopped::BadJwt(_)
        | Stopped::CrossSite
        | Stopped::TooOften(_)
        | Stopped::NotUnderstood(_)
        | Stopped::StoreAway
        | Stopped::ProviderAway
        | Stopped::IssuerAway
        | Stopped::TrailAway
        | Stopped::Busy
        | Stopped::TooSlow
        | Stopped::ClientLeft
        | Stopped::Upstream(_) => for_person(pages, told, request_id),
    }
}

fn sign_in(location: &str) -> HttpResponse {
    HttpResponse::Found()
        .insert_header(("location", location))
        .insert_header(("cache-control", "no-store"))
        .finish()
}

fn for_person(pages: &Pages, told: &Told, request_id: &str) -> HttpResponse {
    let fault = match told.status {
        502 | 504 => Fault::Upstream,
        500.. => Fault::Gateway,
        _ => Fault::Request,
    };
    let page = pages.error(&Trouble {
        status: told.status,
        text: &told.reason.text,
        fault,
        request_id: Some(request_id),
        next: Some(("/", "Back to the start")),
    });
    let page = match told.retry_after {
        Some(seconds) => page.with_header("retry-after", seconds.to_string()),
        None => page,
    };
    page.into()
}

pub(super) fn for_program(told: &Told, request_id: &str) -> HttpResponse {
    let mut response = builder(told);
    if told.status == 401 {
        response.insert_header(("www-authenticate", "Bearer"));
    }
    if let Some(seconds) = told.retry_after {
        response.insert_header(("retry-after", seconds.to_string()));
    }
    response.json(json!({
        "error_code": told.error_code,
        "message": told.reason.text,
        "request_id": request_id,
    }))
}

fn builder(told: &Told) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"));
    response
}

/// For a request to one of our own pages that cannot be read.
pub(super) fn malformed(text: &str, request_id: &str) -> HttpResponse {
    for_program(&Stopped::Malformed(text.to_owned()).told(""), request_id)
}

/// For an address that may not connect: no page, no way on.
pub(super) fn not_admitted(request_id: &str) -> HttpResponse {
    for_program(&Stopped::Network.told(""), request_id)
}

/// For a request to one of our own pages whose headers are larger than `limits.header_size`.
pub(super) fn too_many_headers(request_id: &str) -> HttpResponse {
    for_program(&Stopped::HeadersTooLarge.told(""), request_id)
}

/// For a path under `/auth` that is none.
pub(super) async fn no_such_page(request: HttpRequest, front: web::Data<ArcSwap<Front>>) -> HttpResponse {
    let id = guard::seen(&request).map_or_else(String::new, |seen| seen.id.as_str().to_owned());
    if is_navigation(&request) {
        for_person(&front.load().pages, &nothing_there(), &id)
    } else {
        for_program(&nothing_there(), &id)
    }
}

/// For a question at an endpoint that is switched off.
pub(super) fn not_found(request_id: &str) -> HttpResponse {
    for_program(&nothing_there(), request_id)
}

fn nothing_there() -> Told {
    Told {
        status: 404,
        error_code: "RESOURCE_DOES_NOT_EXIST",
        reason: Reason::new(ReasonCode::UnknownRoute, "There is no such page."),
        retry_after: None,
    }
}
