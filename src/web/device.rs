//! `/auth/device`: a person types the code that a terminal shows, sees who asks, and decides (RFC 8628, 3.3).

use std::net::IpAddr;

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::login::oauth2::{NoDevice, Waiting};
use crate::sessions::Session;

use super::account::{held_roles, signed_form_at};
use super::csrf::Binding;
use super::front::{FORM_LIMIT, Here};
use super::oauth2::{lifetime, trouble};
use super::pages::{Fault, Next, Page, Site};
use super::words::Fill;

pub(super) const PATH: &str = "/auth/device";
const DECIDE: &str = "/auth/device/decide";
/// Longer than any spelling of a code, and short enough to be shown again.
const LONGEST: usize = 40;

pub fn configure(config: &mut web::ServiceConfig) {
    let limit = || web::PayloadConfig::new(FORM_LIMIT);
    config
        .service(
            web::resource(PATH)
                .app_data(limit())
                .route(web::get().to(ask))
                .route(web::head().to(ask))
                .route(web::post().to(show)),
        )
        .service(web::resource(DECIDE).app_data(limit()).route(web::post().to(decide)));
}

/// The form for the code. One in the URL only fills it in: nothing is looked up, let alone decided, by following a link.
async fn ask(here: Here) -> HttpResponse {
    if !here.login().oauth().has_device_flow() {
        return switched_off(&here).into();
    }
    let query = here.query();
    let typed = query.one("user_code").unwrap_or_default();
    match here.session().await {
        Ok(Some(session)) => code_form(&here, &session, typed, 200, None).into(),
        Ok(None) => here.see_other(&sign_in(&here, typed)),
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

/// Who waits under the code.
async fn show(here: Here, body: web::Bytes) -> HttpResponse {
    let (session, fields) = match signed_form_at(&here, &body, BACK).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let typed = fields.one("user_code").unwrap_or_default();
    match waiting(&here, &session, typed).await {
        Ok(waiting) => decision(&here, &session, &waiting).into(),
        Err(page) => page.into(),
    }
}

async fn decide(here: Here, body: web::Bytes) -> HttpResponse {
    let (session, fields) = match signed_form_at(&here, &body, BACK).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let typed = fields.one("user_code").unwrap_or_default();
    let waiting = match waiting(&here, &session, typed).await {
        Ok(waiting) => waiting,
        Err(page) => return page.into(),
    };
    // Anything but a clear yes is a no.
    let approved = fields.one("decision") == Some("allow");
    let decided = here
        .login()
        .oauth()
        .decide_device(&waiting, approved, &session, here.visitor())
        .await;
    match decided {
        Ok(true) => done(&here, approved).into(),
        Ok(false) => code_form(&here, &session, "", 404, Some(here.say().unknown_code)).into(),
        Err(error) => trouble(&here, &error).into(),
    }
}

const BACK: Option<Next<'static>> = Some(Next::TypeAgain);

/// What waits under a code, for somebody who may decide on it; or the page that says why not.
async fn waiting<'a>(here: &'a Here, session: &Session, typed: &str) -> Result<Waiting<'a>, Page> {
    let oauth = here.login().oauth();
    if !oauth.has_device_flow() {
        return Err(switched_off(here));
    }
    let (config, policy) = (&here.front().config, &here.front().policy);
    let on_each = || {
        config
            .upstreams
            .iter()
            .map(|upstream| policy.roles_of(&session.identity, &upstream.name))
    };
    if !on_each().all(|roles| roles.allow_device_flow()) {
        let text = here.say().no_device_for_role;
        return Err(here.trouble(403, text, Fault::Request, Some(Next::Account)));
    }
    let waiting = match oauth.waiting(typed, session, here.visitor()).await {
        Ok(waiting) => waiting,
        Err(NoDevice::Unknown) => return Err(code_form(here, session, typed, 404, Some(here.say().unknown_code))),
        Err(NoDevice::Oauth(error)) => return Err(trouble(here, &error)),
    };
    // Whoever has got at an admin's open browser must not get a token of it that outlives the session.
    if on_each().any(|roles| roles.are_admin()) && session.created < waiting.created {
        let again = sign_in(here, &waiting.user_code());
        let path = again.strip_prefix(here.front().config.base_path()).unwrap_or(&again);
        let text = here.say().sign_in_anew_first;
        return Err(here.trouble(401, text, Fault::Request, Some(Next::SignInAnew(path))));
    }
    Ok(waiting)
}

fn switched_off(here: &Here) -> Page {
    here.trouble(404, here.say().device_off, Fault::Request, Some(Next::Account))
}

/// There and back to the form, with what was typed.
fn sign_in(here: &Here, typed: &str) -> String {
    let mut back = here.pages().path(PATH);
    if !typed.is_empty() && typed.len() <= LONGEST {
        let typed: String = url::form_urlencoded::byte_serialize(typed.as_bytes()).collect();
        back = format!("{back}?user_code={typed}");
    }
    here.pages().path_with_rd("/auth/login", &back)
}

fn code_form(here: &Here, session: &Session, typed: &str, status: u16, problem: Option<&str>) -> Page {
    let pages = here.pages();
    let page = CodePage {
        site: pages.site(),
        typed: if typed.len() <= LONGEST { typed } else { "" },
        problem,
        action: pages.path(PATH),
        csrf_token: pages.csrf().token(Binding::Session(&session.id)),
    };
    pages.page(status, "'self'", page)
}

fn decision(here: &Here, session: &Session, waiting: &Waiting<'_>) -> Page {
    let (me, pages) = (&session.identity, here.pages());
    let browser = here.visitor().address;
    let page = DecisionPage {
        site: pages.site(),
        client: here.say().client(&waiting.client.id, &waiting.client.label),
        client_id: &waiting.client.id,
        host: waiting.host.as_deref(),
        terminal: waiting.address.to_string(),
        browser: browser.to_string(),
        elsewhere: !is_same_place(waiting.address, browser),
        who: me.display_name.as_deref().unwrap_or(&me.user),
        user: &me.user,
        label: here
            .login()
            .provider(&me.provider)
            .map_or(me.provider.as_str(), |provider| &provider.label),
        roles: held_roles(here, me).join(", "),
        read_only: waiting.read_only,
        lifetime: lifetime(here, waiting.refreshes()),
        user_code: waiting.user_code(),
        action: pages.path(DECIDE),
        csrf_token: pages.csrf().token(Binding::Session(&session.id)),
    };
    pages.page(200, "'self'", page)
}

/// One machine has two loopback addresses, and an IPv4 address two spellings.
fn is_same_place(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    one == other || (one.is_loopback() && other.is_loopback())
}

fn done(here: &Here, approved: bool) -> Page {
    let pages = here.pages();
    let page = DonePage {
        site: pages.site(),
        approved,
        account: pages.path("/auth/account"),
    };
    pages.page(200, "'none'", page)
}

#[derive(Template)]
#[template(path = "device.html")]
struct CodePage<'a> {
    site: Site<'a>,
    typed: &'a str,
    problem: Option<&'a str>,
    action: String,
    csrf_token: String,
}

#[derive(Template)]
#[template(path = "device_decide.html")]
struct DecisionPage<'a> {
    site: Site<'a>,
    client: &'a str,
    client_id: &'a str,
    host: Option<&'a str>,
    terminal: String,
    browser: String,
    elsewhere: bool,
    who: &'a str,
    user: &'a str,
    label: &'a str,
    roles: String,
    read_only: bool,
    lifetime: String,
    user_code: String,
    action: String,
    csrf_token: String,
}

#[derive(Template)]
#[template(path = "device_done.html")]
struct DonePage<'a> {
    site: Site<'a>,
    approved: bool,
    account: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_is_one_place() {
        let same = |one: &str, other: &str| is_same_place(one.parse().unwrap(), other.parse().unwrap());
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && same("127.0.0.1", "::1"));
        assert!(!same("192.0.2.1", "192.0.2.2") && !same("127.0.0.1", "192.0.2.1"));
    }
}
