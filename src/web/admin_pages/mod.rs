//! `/auth/admin`: what operators see and do, as pages. The acts are those of the API; who is no admin gets a refusal.

mod explain;
mod overview;
mod people;
mod roles;
mod trail;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::web::{self, Data, PayloadConfig, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use arc_swap::ArcSwap;
use askama::Template;
use url::form_urlencoded;

use crate::audit::{Actor, Outcome};
use crate::domain::{Access, Caller, Permission, Reason, ReasonCode, Resource};
use crate::pipeline::{Gate, Incoming, Stopped};

use super::account::{held_roles, signed_form_at};
use super::admin_api::{Acting, AdminError, AdminParts};
use super::csrf::Binding;
use super::error::{self, Asking};
use super::front::{FORM_LIMIT, Fields, Here};
use super::guard;
use super::pages::{Fault, Next, Refused, Site};
use super::words::{Said, Words};

const HOME: &str = "/auth/admin";
const SESSIONS: &str = "/auth/admin/sessions";
const TOKENS: &str = "/auth/admin/tokens";
const ROLES: &str = "/auth/admin/roles";
const TRAIL: &str = "/auth/admin/audit";
const EXPLAIN: &str = "/auth/admin/explain";

pub fn configure(config: &mut ServiceConfig) {
    let limit = || PayloadConfig::new(FORM_LIMIT);
    config
        .service(
            web::resource(HOME)
                .route(web::get().to(overview::show))
                .route(web::head().to(overview::show)),
        )
        .service(
            web::resource(SESSIONS)
                .route(web::get().to(people::sessions))
                .route(web::head().to(people::sessions)),
        )
        .service(
            web::resource("/auth/admin/sessions/revoke")
                .app_data(limit())
                .route(web::post().to(people::end_session)),
        )
        .service(
            web::resource("/auth/admin/sessions/revoke-all")
                .app_data(limit())
                .route(web::post().to(people::end_sessions_of)),
        )
        .service(
            web::resource(TOKENS)
                .app_data(limit())
                .route(web::get().to(people::tokens))
                .route(web::head().to(people::tokens))
                .route(web::post().to(people::make_token)),
        )
        .service(
            web::resource("/auth/admin/tokens/revoke")
                .app_data(limit())
                .route(web::post().to(people::revoke_token)),
        )
        .service(
            web::resource(ROLES)
                .route(web::get().to(roles::show))
                .route(web::head().to(roles::show)),
        )
        .service(
            web::resource(TRAIL)
                .route(web::get().to(trail::show))
                .route(web::head().to(trail::show)),
        )
        .service(
            web::resource(EXPLAIN)
                .app_data(limit())
                .route(web::get().to(explain::show))
                .route(web::head().to(explain::show))
                // Looking things up for somebody else is asked for by a form of ours, for the body's sake.
                .route(web::post().to(explain::answer)),
        );
}

/// An admin, by session, with groups that are young enough. Everybody else is answered before a handler runs.
struct Entered {
    here: Here,
    gate: Arc<Gate>,
    parts: Arc<AdminParts>,
    acting: Acting,
    csrf_token: String,
}

impl FromRequest for Entered {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let here = Here::extract(&request).await?;
            enter(here, &request)
                .await
                .map_err(|response| InternalError::from_response("not an admin", response).into())
        })
    }
}

async fn enter(here: Here, request: &HttpRequest) -> Result<Entered, HttpResponse> {
    let gate = request.app_data::<Data<ArcSwap<Gate>>>().map(|gate| gate.load_full());
    let parts = request
        .app_data::<Data<ArcSwap<AdminParts>>>()
        .map(|parts| parts.load_full());
    let (Some(gate), Some(parts), Some(seen)) = (gate, parts, guard::seen(request)) else {
        return Err(HttpResponse::InternalServerError().finish());
    };
    let asking = Asking {
        is_navigation: !here.is_program(),
        ..Asking::of(request)
    };
    let address = seen.address.to_string();
    // A credential that is shown is the one that counts, and here the session alone is one.
    let found = match here.authorization() {
        Some(_) => Err(Stopped::NotSignedIn),
        None => {
            let incoming = Incoming::new(
                request.clone(),
                actix_web::dev::Payload::None,
                gate.config(),
                seen.clone(),
            );
            gate.by_cookie(&incoming).await
        }
    };
    let caller = match found {
        Ok(caller) => caller,
        Err(stopped) => {
            let told = stopped.told(&gate.login_url());
            let pages = &here.front().pages;
            return Err(error::render(&asking, pages, seen.id.as_str(), &stopped, &told));
        }
    };
    let acting = Acting(Actor::of(&caller, held_roles(&here, &caller.identity), Some(address)));
    let is_admin = gate.is_admin(&caller);
    let access = Access::on(Permission::Manage, Resource::server());
    let (outcome, reason) = match is_admin {
        true => (
            Outcome::Allowed,
            Reason::new(ReasonCode::Granted, "Granted by the role admin."),
        ),
        false => (
            Outcome::Refused,
            Reason::new(ReasonCode::NotGranted, Words::english().missing(&access)),
        ),
    };
    // Looking is recorded where reads are.
    if !is_admin || here.front().config.audit.reads {
        parts
            .note_page(
                &acting,
                (request.method().as_str(), request.path()),
                seen.id.as_str(),
                outcome,
                &reason,
            )
            .await
            .map_err(|error| failed(&here, &error))?;
        guard::is_noted(request);
    }
    if !is_admin {
        return Err(refuse(&here, &asking, &caller, &reason, &access));
    }
    let session = caller.credential.as_deref().unwrap_or_default();
    Ok(Entered {
        csrf_token: here.front().pages.csrf().token(Binding::Session(session)),
        here,
        gate,
        parts,
        acting,
    })
}

fn refuse(here: &Here, asking: &Asking<'_>, caller: &Caller, reason: &Reason, access: &Access) -> HttpResponse {
    let request_id = here.visitor().request_id;
    if !asking.is_navigation {
        return actix_web::Error::from(AdminError::NotAdmin).error_response();
    }
    let refused = Refused {
        caller: Some(caller),
        roles: &held_roles(here, &caller.identity),
        reason,
        missing: Some(access),
        return_to: asking.asked,
        request_id,
    };
    here.pages().refused(&refused).into()
}

impl Entered {
    fn say(&self) -> &'static Words {
        self.here.say()
    }

    /// The fields of a form of ours.
    async fn form(&self, body: &[u8]) -> Result<Fields, HttpResponse> {
        signed_form_at(&self.here, body, Some(Next::Admin))
            .await
            .map(|(_, fields)| fields)
    }

    fn failed(&self, error: &AdminError) -> HttpResponse {
        failed(&self.here, error)
    }

    fn path(&self, path: &str) -> String {
        self.here.pages().path(path)
    }

    /// On to a list, with what was done and what was looked for.
    fn back_to(&self, list: &str, fields: &[(&str, &str)]) -> HttpResponse {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()))
            .finish();
        self.here.see_other(&self.path(&format!("{list}?{query}")))
    }

    fn menu(&self, current: &'static str) -> Vec<Entry> {
        let say = self.say();
        let entries = [
            (HOME, say.overview),
            (SESSIONS, say.sessions),
            (TOKENS, say.tokens),
            (ROLES, say.roles),
            (TRAIL, say.trail),
            (EXPLAIN, say.explain),
        ];
        entries
            .into_iter()
            .map(|(path, label)| Entry {
                href: self.path(path),
                label,
                is_current: path == current,
            })
            .collect()
    }

    fn page(&self, status: u16, template: impl Template) -> HttpResponse {
        self.here.pages().page(status, "'self'", template).into()
    }

    /// Ids of providers whose people can be here.
    fn providers(&self) -> Vec<String> {
        let config = &self.here.front().config;
        let mut ids: Vec<_> = config
            .providers
            .iter()
            .map(|provider| provider.id.clone())
            .chain(config.trusted_issuers.iter().map(|issuer| issuer.id.clone()))
            .collect();
        if !config.clients.is_empty() {
            ids.push(crate::config::CLIENTS.to_owned());
        }
        ids
    }
}

/// An act of the API that was not done, for a person.
fn failed(here: &Here, error: &AdminError) -> HttpResponse {
    let say = here.say();
    let (status, text, fault) = match error {
        AdminError::NotAdmin => (403, say.for_admins, Fault::Request),
        AdminError::Missing(_) => (404, say.already_ended, Fault::Request),
        AdminError::Malformed(_) => (400, say.act_refused, Fault::Request),
        AdminError::Refused(_) => (403, say.act_refused, Fault::Request),
        AdminError::Unavailable(_) => (503, say.act_unavailable, Fault::Gateway),
    };
    let said = Said {
        text: text.to_owned(),
        detail: match error {
            AdminError::Malformed(text) | AdminError::Refused(text) => Some(text.clone()),
            AdminError::NotAdmin | AdminError::Missing(_) | AdminError::Unavailable(_) => None,
        },
    };
    here.trouble_told(status, &said, fault, Some(Next::Admin)).into()
}

/// One entry of the menu.
struct Entry {
    href: String,
    label: &'static str,
    is_current: bool,
}

/// A choice in a form.
struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

/// What people typed, or nothing.
fn typed<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.one(name).map(str::trim).filter(|text| !text.is_empty())
}

fn choices(values: impl IntoIterator<Item = String>, chosen: Option<&str>) -> Vec<Choice> {
    values
        .into_iter()
        .map(|value| Choice {
            label: value.clone(),
            is_chosen: chosen == Some(value.as_str()),
            value,
        })
        .collect()
}
