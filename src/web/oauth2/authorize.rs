//! `/auth/oauth2/authorize`: asks the person whether a client may act for them, and sends the answer back to the client.

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::login::oauth2::{Asked, BadAuthorize, OauthError};
use crate::sessions::Session;
use crate::web::account::{held_roles, signed_form_at};
use crate::web::csrf::Binding;
use crate::web::front::{FORM_LIMIT, Fields, Here};
use crate::web::pages::{Fault, Page, Site};
use crate::web::words::{Fill, Said};

const PATH: &str = "/auth/oauth2/authorize";
/// What the form carries back: read and checked again as if it had just come.
const CARRIED: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
    "scope",
    "host_name",
];

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource(PATH)
            .app_data(web::PayloadConfig::new(FORM_LIMIT))
            .route(web::get().to(ask))
            .route(web::head().to(ask))
            .route(web::post().to(answer)),
    );
}

async fn ask(here: Here) -> HttpResponse {
    let query = here.query();
    let asked = match here.login().oauth().authorization(query.as_slice()) {
        Ok(asked) => asked,
        Err(bad) => return not_asked(&here, bad),
    };
    match here.session().await {
        Ok(Some(session)) => consent(&here, &query, &asked, &session).into(),
        Ok(None) => {
            let back = format!("{}?{}", here.pages().path(PATH), here.raw_query());
            here.see_other(&here.pages().path_with_rd("/auth/login", &back))
        }
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

async fn answer(here: Here, body: web::Bytes) -> HttpResponse {
    let (session, fields) = match signed_form_at(&here, &body, None).await {
        Ok(signed) => signed,
        Err(refused) => return refused,
    };
    let carried: Vec<_> = fields
        .as_slice()
        .iter()
        .filter(|(name, _)| CARRIED.contains(&name.as_str()))
        .cloned()
        .collect();
    let oauth = here.login().oauth();
    let asked = match oauth.authorization(&carried) {
        Ok(asked) => asked,
        Err(bad) => return not_asked(&here, bad),
    };
    // Anything but a clear yes is a no.
    let decided = match fields.one("decision") {
        Some("allow") => oauth.approve(&asked, &session, here.visitor()).await,
        _ => oauth.deny(&asked, &session, here.visitor()).await,
    };
    match decided {
        Ok(location) => here.see_other(&location),
        Err(error) => trouble(&here, &error).into(),
    }
}

fn not_asked(here: &Here, bad: BadAuthorize) -> HttpResponse {
    match bad {
        BadAuthorize::Told(text) => {
            let said = Said {
                text: here.say().oauth_wrong.to_owned(),
                detail: Some(text.to_owned()),
            };
            here.trouble_told(400, &said, Fault::Request, None).into()
        }
        BadAuthorize::Return(location) => here.see_other(&location),
    }
}

/// What could not be done, for a person.
pub(in crate::web) fn trouble(here: &Here, error: &OauthError) -> Page {
    let fault = match error.status() {
        503 => Fault::Gateway,
        _ => Fault::Request,
    };
    let page = here.trouble_told(error.status(), &here.say().oauth(error), fault, None);
    match error.retry_after() {
        Some(seconds) => page.with_header("retry-after", seconds.to_string()),
        None => page,
    }
}

fn consent(here: &Here, query: &Fields, asked: &Asked<'_>, session: &Session) -> Page {
    let (me, pages) = (&session.identity, here.pages());
    let page = ConsentPage {
        site: pages.site(),
        client: here.say().client(&asked.client.id, &asked.client.label),
        client_id: &asked.client.id,
        who: me.display_name.as_deref().unwrap_or(&me.user),
        user: &me.user,
        label: here
            .login()
            .provider(&me.provider)
            .map_or(me.provider.as_str(), |provider| &provider.label),
        roles: held_roles(here, me).join(", "),
        read_only: asked.read_only,
        lifetime: lifetime(here, asked.refreshes()),
        action: pages.path(PATH),
        returns_to: origin(&asked.redirect_uri),
        csrf_token: pages.csrf().token(Binding::Session(&session.id)),
        carried: CARRIED
            .iter()
            .filter_map(|name| Some((*name, query.one(name)?)))
            .collect(),
        other: pages.path_with_rd("/auth/login", &format!("{}?{}", pages.path(PATH), here.raw_query())),
    };
    // Browsers hold the redirect after the form to this policy too. It has no spelling for an IPv6 address.
    let target = match origin(&asked.redirect_uri) {
        six if six.contains('[') => "http:",
        origin => origin,
    };
    pages.page(200, &format!("'self' {target}"), page)
}

/// Scheme, host and port of a redirect URI that was checked.
fn origin(uri: &str) -> &str {
    let after_scheme = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[after_scheme..]
        .find(['/', '?', '#'])
        .map_or(uri.len(), |at| after_scheme + at);
    &uri[..end]
}

/// How long what is asked for lives, in words.
pub(in crate::web) fn lifetime(here: &Here, refreshes: bool) -> String {
    let tokens = &here.front().config.tokens;
    let say = here.say();
    if refreshes {
        say.until_revoked
            .with("most", say.duration(tokens.refresh_absolute.as_secs()))
            .with("idle", say.duration(tokens.refresh_idle.as_secs()))
            .to_string()
    } else {
        say.for_time
            .with("time", say.duration(tokens.access_lifetime.as_secs()))
            .to_string()
    }
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    site: Site<'a>,
    client: &'a str,
    client_id: &'a str,
    who: &'a str,
    user: &'a str,
    label: &'a str,
    roles: String,
    read_only: bool,
    lifetime: String,
    action: String,
    returns_to: &'a str,
    csrf_token: String,
    carried: Vec<(&'a str, &'a str)>,
    other: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        assert_eq!(origin("http://127.0.0.1:8400/callback"), "http://127.0.0.1:8400");
        assert_eq!(origin("http://[::1]:8400/callback"), "http://[::1]:8400");
        assert_eq!(origin("https://app.example?x"), "https://app.example");
    }
}
