//! `/auth/logout`: ends this session, and the provider's where it offers that. A GET only asks.

use actix_web::{HttpResponse, web};

use crate::providers::Onward;

use super::csrf::{Binding, Provenance};
use super::front::{FORM_LIMIT, Here, form};
use super::login::set_cookie;
use super::pages::{Fault, Next};

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/auth/logout")
                .app_data(web::PayloadConfig::new(FORM_LIMIT))
                .route(web::get().to(ask))
                .route(web::head().to(ask))
                .route(web::post().to(end)),
        )
        .service(
            web::resource("/auth/signed-out")
                .route(web::get().to(signed_out))
                .route(web::head().to(signed_out)),
        );
}

async fn ask(here: Here) -> HttpResponse {
    match here.session().await {
        Ok(Some(session)) => here.pages().sign_out(&session.identity.user, &session.id).into(),
        Ok(None) => here.pages().signed_out().into(),
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

async fn end(here: Here, body: web::Bytes) -> HttpResponse {
    if here.provenance() != Provenance::SameOrigin {
        return here
            .trouble(403, here.say().sign_out_from_here, Fault::Request, None)
            .into();
    }
    let session = match here.session().await {
        Ok(session) => session,
        Err(why) => return here.not_signed_in(&why, "").into(),
    };
    let fields = form(here.headers(), &body);
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.one(name)).unwrap_or_default();
    if let Some(session) = session
        && !here
            .pages()
            .csrf()
            .accepts(Binding::Session(&session.id), field("csrf_token"))
    {
        let text = here.say().form_expired;
        return here.trouble(403, text, Fault::Request, Some(Next::SignOut)).into();
    }
    match here.login().logout(here.visitor()).await {
        Ok(onward) => {
            let mut response = match onward {
                Some(onward) => sign_out_there(&here, &onward),
                None => here.see_other(&after(&here, field("rd"))),
            };
            set_cookie(&mut response, &here.front().cookies.clear_session());
            response
        }
        Err(why) => here.not_signed_in(&why, "").into(),
    }
}

/// Signed out here; the browser goes on to the provider.
fn sign_out_there(here: &Here, onward: &Onward) -> HttpResponse {
    match onward {
        Onward::Redirect(url) if here.pages().form_may_lead_to(url) => here.see_other(url),
        // The browser would hold a redirect to the form's content policy; a page it may leave.
        Onward::Redirect(url) => here.pages().signing_out(url).into(),
        Onward::Form { url, fields } => {
            let say = here.say();
            here.pages()
                .posting(say.signed_out, say.one_moment_ends, url, fields)
                .into()
        }
    }
}

/// Somebody who signs out to be someone else wants the sign-in page next.
fn after(here: &Here, rd: &str) -> String {
    match rd {
        "" => here.pages().path("/auth/signed-out"),
        rd => here
            .pages()
            .path_with_rd("/auth/login", here.login().return_to(rd).as_str()),
    }
}

async fn signed_out(here: Here) -> HttpResponse {
    here.pages().signed_out().into()
}
