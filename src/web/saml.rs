//! `/auth/saml/{provider}`: what a SAML provider must know of us, and what it sends.

use actix_web::{HttpResponse, web};

use crate::login::ProviderLogout;
use crate::providers::{Message, Onward, Way};

use super::front::{Fields, Here, form};
use super::login::{label, set_cookie};
use super::pages::Fault;
use super::words::Fill;

/// A message of 256 KiB, in base64, and every second character of that percent-encoded. Bytes.
const MESSAGE_LIMIT: usize = 1 << 20;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/auth/saml/{provider}/metadata")
                .route(web::get().to(metadata))
                .route(web::head().to(metadata)),
        )
        .service(
            web::resource("/auth/saml/{provider}/acs")
                .app_data(web::PayloadConfig::new(MESSAGE_LIMIT))
                .route(web::post().to(receive)),
        )
        // GET alone: a HEAD would use the message up.
        .service(
            web::resource("/auth/saml/{provider}/slo")
                .app_data(web::PayloadConfig::new(MESSAGE_LIMIT))
                .route(web::get().to(logout_by_query))
                .route(web::post().to(logout_by_form)),
        );
}

async fn metadata(here: Here, provider: web::Path<String>) -> HttpResponse {
    let text = here
        .login()
        .provider(&provider)
        .and_then(|provider| match &provider.way {
            Way::Redirect(way) => way.metadata(),
            Way::Password(_) => None,
        });
    match text {
        Some(text) => HttpResponse::Ok()
            .insert_header(("content-type", "application/samlmetadata+xml"))
            .insert_header(("cache-control", "no-cache"))
            .insert_header(("x-content-type-options", "nosniff"))
            .body(text),
        None => here.trouble(404, here.say().no_such_saml, Fault::Request, None).into(),
    }
}

/// The provider's page posts the answer here from its own site, so the browser sends none of our cookies along. What holds is
/// kept for a moment, and the browser comes for it on our site.
async fn receive(here: Here, provider: web::Path<String>, body: web::Bytes) -> HttpResponse {
    let Some(fields) = form(here.headers(), &body) else {
        return no_form(&here);
    };
    match here.login().receive(&provider, fields.as_slice(), here.visitor()).await {
        Ok(path) => here.see_other(&here.pages().path(&path)),
        Err(why) => here.not_signed_in(&why, label(&here, &provider)).into(),
    }
}

async fn logout_by_query(here: Here, provider: web::Path<String>) -> HttpResponse {
    let query = here.raw_query().to_owned();
    logout(here, &provider, Message::Query(&query)).await
}

async fn logout_by_form(here: Here, provider: web::Path<String>, body: web::Bytes) -> HttpResponse {
    match form(here.headers(), &body) {
        Some(fields) => logout(here, &provider, Message::Form(Fields::as_slice(&fields))).await,
        None => no_form(&here),
    }
}

async fn logout(here: Here, provider: &str, message: Message<'_>) -> HttpResponse {
    // Of the browser that brings the word, where it brings its cookie.
    let own = here.session().await.ok().flatten();
    let (sessions, answer) = match here.login().provider_logout(provider, message, here.visitor()).await {
        Ok(ProviderLogout::Ended { sessions, answer }) => (sessions, answer),
        Ok(ProviderLogout::Done { trouble: None }) => {
            return here.see_other(&here.pages().path("/auth/signed-out"));
        }
        Ok(ProviderLogout::Done { trouble: Some(_) }) => {
            let label = label(&here, provider);
            let text = here.say().not_all_ended.with("provider", label).to_string();
            return here.trouble(502, &text, Fault::Provider(label), None).into();
        }
        Err(why) => return here.not_signed_in(&why, label(&here, provider)).into(),
    };
    let mut response = match answer {
        Onward::Redirect(url) => here.see_other(&url),
        Onward::Form { url, fields } => {
            let say = here.say();
            here.pages()
                .posting(say.signed_out, say.one_moment_ends, &url, &fields)
                .into()
        }
    };
    if own.is_some_and(|own| sessions.contains(&own.id)) {
        set_cookie(&mut response, &here.front().cookies.clear_session());
    }
    response
}

fn no_form(here: &Here) -> HttpResponse {
    here.trouble(400, here.say().unexpected_form, Fault::Request, None)
        .into()
}
