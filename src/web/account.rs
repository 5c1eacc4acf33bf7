//! `/auth/account`: who I am, what I may do, my sessions and tokens, and how to set up a client.

use std::sync::Arc;
use std::time::Duration;

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use askama::Template;
use serde_json::json;

use crate::config::{self, Config, Grant};
use crate::domain::{Identity, Scope, Timestamp};
use crate::login::{NotMade, NotSignedIn, Wanted};
use crate::pipeline::{Gate, Stopped};
use crate::policy::Policy;
use crate::sessions::Session;
use crate::tokens::Token;

use super::csrf::{Binding, Provenance};
use super::error;
use super::front::{FORM_LIMIT, Fields, Here, form};
use super::pages::{Fault, Next, Page, Site};
use super::words::{Fill, Said, Words};

pub fn configure(config: &mut web::ServiceConfig) {
    let limit = || web::PayloadConfig::new(FORM_LIMIT);
    config
        .service(
            web::resource("/auth/account")
                .route(web::get().guard(fn_guard(shows_token)).to(told_to_program))
                .route(web::get().to(show))
                .route(web::head().to(show)),
        )
        .service(
            web::resource("/auth/account/sessions/revoke")
                .app_data(limit())
                .route(web::post().to(end_session)),
        )
        .service(
            web::resource(TOKENS)
                .app_data(limit())
                .route(web::post().to(make_token)),
        )
        .service(
            web::resource("/auth/account/tokens/revoke")
                .app_data(limit())
                .route(web::post().to(revoke_token)),
        );
}

async fn show(here: Here) -> HttpResponse {
    let session = match here.session().await {
        Ok(Some(session)) => session,
        Ok(None) => return sign_in_first(&here),
        Err(why) => return here.not_signed_in(&why, "").into(),
    };
    match account_page(&here, &session, None).await {
        Ok(page) => page.into(),
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

/// Who a token's owner is and what they hold, for `mlgate whoami`.
async fn told_to_program(here: Here, gate: web::Data<ArcSwap<Gate>>) -> HttpResponse {
    let gate = gate.load_full();
    let found = match here.authorization().flatten() {
        Some(value) => gate.by_header(value, here.visitor().address).await,
        None => Err(Stopped::BadCredential),
    };
    let (caller, expires) = match found {
        Ok(found) => found,
        Err(stopped) => {
            let request_id = here.visitor().request_id.unwrap_or_default();
            return error::for_program(&stopped.told(&gate.login_url()), request_id);
        }
    };
    let me = &caller.identity;
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"))
        .json(json!({
            "user": me.user,
            "provider": me.provider,
            "display_name": me.display_name,
            "email": me.email,
            "groups": me.groups,
            "roles": held_roles(&here, me),
            "read_only": caller.scope.read_only,
            "credential": caller.credential,
            "expires": expires.rfc3339(),
        }))
}

fn shows_token(context: &GuardContext<'_>) -> bool {
    context.head().headers().contains_key("authorization")
}

async fn end_session(here: Here, body: web::Bytes) -> HttpResponse {
    let (me, fields) = match signed_form(&here, &body).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let id = fields.one("id").unwrap_or_default();
    let done = here.login().account().end_session(&me, id, here.visitor()).await;
    back(&here, done, "session", here.say().no_such_session)
}

/// Shows the new token, once: the answer is not to be kept, and no page of it can be asked for again.
async fn make_token(here: Here, body: web::Bytes) -> HttpResponse {
    let (me, fields) = match signed_form(&here, &body).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let seconds = fields.one("lifetime").and_then(|seconds| seconds.parse().ok());
    let wanted = Wanted {
        name: fields.one("name").unwrap_or_default(),
        lifetime: Duration::from_secs(seconds.unwrap_or_default()),
        scope: Scope {
            read_only: fields.one("read_only").is_some(),
            experiments: named(fields.one("experiments").unwrap_or_default()),
        },
    };
    let made = here.login().account().make_token(&me, wanted, here.visitor()).await;
    let shown = match made {
        Ok((secret, token)) => account_page(&here, &me, Some((&token.name, secret.expose()))).await,
        Err(NotMade::Invalid(text)) => {
            let said = Said {
                text: here.say().token_not_made.to_owned(),
                detail: Some(text),
            };
            return here.trouble_told(400, &said, Fault::Request, BACK).into();
        }
        Err(NotMade::Not(why)) => Err(why),
    };
    match shown {
        Ok(page) => page.into(),
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

/// Names of experiments with commas or lines between them; `None` for none.
fn named(text: &str) -> Option<Arc<[String]>> {
    let names: Vec<_> = text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    (!names.is_empty()).then(|| names.into())
}

async fn revoke_token(here: Here, body: web::Bytes) -> HttpResponse {
    let (me, fields) = match signed_form(&here, &body).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let id = fields.one("id").unwrap_or_default();
    let done = here.login().account().revoke_token(&me, id, here.visitor()).await;
    back(&here, done, "token", here.say().no_such_token)
}

pub(super) async fn signed_form(here: &Here, body: &[u8]) -> Result<(Arc<Session>, Fields), HttpResponse> {
    signed_form_at(here, body, BACK).await
}

/// The one door of all forms of who is signed in: from this site, and with the session's own token. `back` is offered to
/// whoever is refused.
pub(super) async fn signed_form_at(
    here: &Here,
    body: &[u8],
    back: Option<Next<'_>>,
) -> Result<(Arc<Session>, Fields), HttpResponse> {
    if here.provenance() != Provenance::SameOrigin {
        return Err(here
            .trouble(403, here.say().from_another_site, Fault::Request, back)
            .into());
    }
    let session = match here.session().await {
        Ok(Some(session)) => session,
        Ok(None) => return Err(sign_in_first(here)),
        Err(why) => return Err(here.not_signed_in(&why, "").into()),
    };
    let Some(fields) = form(here.headers(), body) else {
        return Err(here.trouble(400, here.say().not_our_form, Fault::Request, back).into());
    };
    if !here.pages().csrf().accepts(
        Binding::Session(&session.id),
        fields.one("csrf_token").unwrap_or_default(),
    ) {
        return Err(here.trouble(403, here.say().form_expired, Fault::Request, back).into());
    }
    Ok((session, fields))
}

const TOKENS: &str = "/auth/account/tokens";

/// What the form offers, as far as the operator lets it, in seconds and in words.
pub(super) fn lifetimes(longest: Duration, say: &Words) -> Vec<(u64, String)> {
    const DAY: u64 = 86_400;
    let longest = longest.as_secs();
    let usual = [3600, 8 * 3600, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];
    let mut offered: Vec<_> = usual.into_iter().filter(|seconds| *seconds < longest).collect();
    offered.push(longest);
    offered
        .into_iter()
        .map(|seconds| (seconds, say.duration(seconds)))
        .collect()
}

const BACK: Option<Next<'static>> = Some(Next::BackToAccount);

pub(super) fn sign_in_first(here: &Here) -> HttpResponse {
    if here.is_program() {
        let login = here.front().config.public_url.as_str().trim_end_matches('/').to_owned() + "/auth/login";
        return error::for_program(
            &Stopped::NotSignedIn.told(&login),
            here.visitor().request_id.unwrap_or_default(),
        );
    }
    let account = here.pages().path("/auth/account");
    here.see_other(&here.pages().path_with_rd("/auth/login", &account))
}

fn back(here: &Here, done: Result<bool, NotSignedIn>, what: &str, none: &str) -> HttpResponse {
    match done {
        Ok(true) => here.see_other(&here.pages().path(&format!("/auth/account?done={what}"))),
        Ok(false) => here.trouble(404, none, Fault::Request, BACK).into(),
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

async fn account_page(here: &Here, session: &Session, made: Option<(&str, &str)>) -> Result<Page, NotSignedIn> {
    let me = &session.identity;
    let (config, pages) = (&here.front().config, here.pages());
    let sessions = here.login().account().sessions(me).await?;
    let tokens = here.login().account().tokens(me).await?;
    let label = here
        .login()
        .provider(&me.provider)
        .map_or(me.provider.as_str(), |provider| &provider.label);
    let page = AccountPage {
        site: pages.site(),
        who: me.display_name.as_deref().unwrap_or(&me.user),
        user: &me.user,
        label,
        email: me.email.as_deref(),
        groups: me.groups.join(", "),
        upstreams: rights(config, &here.front().policy, me, here.say()),
        sessions: sessions.iter().map(|other| SessionRow::new(other, session)).collect(),
        tokens: tokens.iter().map(|token| TokenRow::new(token, here.say())).collect(),
        done: match here.query().one("done") {
            Some("session") => Some(here.say().session_ended),
            Some("token") => Some(here.say().token_revoked),
            _ => None,
        },
        csrf_token: pages.csrf().token(Binding::Session(&session.id)),
        home: pages.home(),
        public_url: config.public_url.as_str().trim_end_matches('/'),
        logout: pages.path("/auth/logout"),
        revoke_session: pages.path("/auth/account/sessions/revoke"),
        revoke_token: pages.path("/auth/account/tokens/revoke"),
        make_token: pages.path(TOKENS),
        made,
        lifetimes: lifetimes(config.tokens.personal_max_lifetime, here.say()),
        device: here
            .login()
            .oauth()
            .has_device_flow()
            .then(|| pages.path("/auth/device")),
        admin: is_admin(here, me).then(|| pages.path("/auth/admin")),
    };
    Ok(pages.page(200, &pages.signed_in_forms(), page))
}

/// The names of all roles that somebody holds, on whichever upstream.
pub(super) fn held_roles(here: &Here, me: &Identity) -> Vec<String> {
    let (config, policy) = (&here.front().config, &here.front().policy);
    let mut names = Vec::new();
    for upstream in &config.upstreams {
        for name in policy.roles_of(me, &upstream.name).names() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Whether somebody is an admin on any upstream.
fn is_admin(here: &Here, me: &Identity) -> bool {
    let (config, policy) = (&here.front().config, &here.front().policy);
    let mut upstreams = config.upstreams.iter();
    upstreams.any(|upstream| policy.roles_of(me, &upstream.name).are_admin())
}

/// The roles held on each upstream; upstreams without any are left out, and a lone upstream needs no name.
fn rights(config: &Config, policy: &Policy, me: &Identity, say: &Words) -> Vec<Rights> {
    let several = config.upstreams.len() > 1;
    let rights = config.upstreams.iter().map(|upstream| Rights {
        name: several.then(|| upstream.name.clone()),
        roles: policy
            .roles_of(me, &upstream.name)
            .names()
            .into_iter()
            .map(|name| RoleRights {
                lines: lines_of(&name, &config.roles, say),
                name,
            })
            .collect(),
    });
    rights.filter(|rights| !rights.roles.is_empty()).collect()
}

pub(super) fn lines_of(role: &str, roles: &[config::Role], say: &Words) -> Vec<RightLine> {
    let line = |permission: &str, on: &str| RightLine {
        permission: permission.to_owned(),
        denies: false,
        on: on.to_owned(),
    };
    match role {
        "viewer" => vec![line("READ", say.everything)],
        "editor" => vec![line("EDIT", say.everything)],
        "manager" => vec![line("MANAGE", say.everything)],
        "admin" => vec![line("MANAGE", say.everything_and_server)],
        name => roles
            .iter()
            .filter(|role| role.name == name)
            .flat_map(|role| &role.grants)
            .map(|grant| line_of(grant, say))
            .collect(),
    }
}

fn line_of(grant: &Grant, say: &Words) -> RightLine {
    let kinds = grant
        .patterns
        .iter()
        .map(|(kind, patterns)| say.granted_on(*kind, patterns));
    RightLine {
        permission: grant
            .permission
            .map(|permission| permission.to_string())
            .unwrap_or_default(),
        denies: grant.permission.is_none(),
        on: kinds.collect::<Vec<_>>().join("; "),
    }
}

/// `2026-11-23 12:00`; the page says that it is UTC.
pub(super) fn minute(at: Timestamp) -> String {
    let text = at.rfc3339();
    format!("{} {}", &text[..10], &text[11..16])
}

struct Rights {
    name: Option<String>,
    roles: Vec<RoleRights>,
}

struct RoleRights {
    name: String,
    lines: Vec<RightLine>,
}

pub(super) struct RightLine {
    pub(super) permission: String,
    pub(super) denies: bool,
    pub(super) on: String,
}

struct SessionRow {
    id: String,
    address: String,
    since: String,
    last_seen: String,
    ends: String,
    current: bool,
}

impl SessionRow {
    fn new(session: &Session, mine: &Session) -> Self {
        Self {
            id: session.id.clone(),
            address: session.address.to_string(),
            since: minute(session.created),
            last_seen: minute(session.last_seen),
            ends: minute(session.expires),
            current: session.id == mine.id,
        }
    }
}

struct TokenRow {
    id: String,
    name: String,
    created: String,
    last_used: String,
    ends: String,
    read_only: bool,
    experiments: String,
    /// Where a terminal signed in from; `None` for a personal token.
    terminal: Option<String>,
}

impl TokenRow {
    fn new(token: &Token, say: &Words) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            created: minute(token.created),
            last_used: token.last_used.map_or_else(|| say.never.to_owned(), minute),
            ends: minute(token.expires),
            read_only: token.scope.read_only,
            experiments: token.scope.experiments.as_deref().unwrap_or_default().join(", "),
            terminal: token.family.as_ref().map(|family| family.address.to_string()),
        }
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    site: Site<'a>,
    who: &'a str,
    user: &'a str,
    label: &'a str,
    email: Option<&'a str>,
    groups: String,
    upstreams: Vec<Rights>,
    sessions: Vec<SessionRow>,
    tokens: Vec<TokenRow>,
    done: Option<&'a str>,
    csrf_token: String,
    home: &'a str,
    public_url: &'a str,
    logout: String,
    revoke_session: String,
    revoke_token: String,
    make_token: String,
    /// Name and text of a new token.
    made: Option<(&'a str, &'a str)>,
    lifetimes: Vec<(u64, String)>,
    device: Option<String>,
    /// For admins.
    admin: Option<String>,
}
