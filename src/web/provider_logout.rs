//! `/auth/oidc/{provider}/…`: the identity provider ends sessions, by a token of its own or in a frame of the browser.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::login::NotSignedIn;

use super::front::{FORM_LIMIT, Here, form};
use super::login::set_cookie;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/auth/oidc/{provider}/backchannel-logout")
                .app_data(web::PayloadConfig::new(FORM_LIMIT))
                .route(web::post().to(by_token)),
        )
        // GET is what the standard has: a browser's frame. It ends nothing but the session of whoever knows the name that
        // the provider gave its own.
        .service(web::resource("/auth/oidc/{provider}/frontchannel-logout").route(web::get().to(in_frame)));
}

/// OpenID Connect Back-Channel Logout 1.0, 2.5 to 2.8.
async fn by_token(here: Here, provider: web::Path<String>, body: web::Bytes) -> HttpResponse {
    let fields = form(here.headers(), &body);
    let Some(token) = fields.as_ref().and_then(|fields| fields.one("logout_token")) else {
        return told(StatusCode::BAD_REQUEST, "one logout_token must come as a form");
    };
    match here.login().ended_by_token(&provider, token, here.visitor()).await {
        Ok(_) => HttpResponse::Ok().insert_header(("cache-control", "no-store")).finish(),
        Err(NotSignedIn::UnknownProvider) => told(StatusCode::NOT_FOUND, "there is no such provider"),
        // The cause is in the log and the trail.
        Err(NotSignedIn::Refused(_)) => told(StatusCode::BAD_REQUEST, "the logout token is refused"),
        Err(NotSignedIn::TooManyAttempts(wait)) => {
            let mut answer = told(
                StatusCode::TOO_MANY_REQUESTS,
                "too many refused tokens came from this address",
            );
            let seconds = wait.as_secs().max(1).into();
            answer.headers_mut().insert(RETRY_AFTER, seconds);
            answer
        }
        Err(_) => told(StatusCode::BAD_REQUEST, "the sessions could not be ended now"),
    }
}

fn told(status: StatusCode, description: &str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"))
        .json(json!({"error": "invalid_request", "error_description": description}))
}

/// OpenID Connect Front-Channel Logout 1.0. Whether anything ended is not told.
async fn in_frame(here: Here, provider: web::Path<String>) -> HttpResponse {
    let query = here.query();
    let Some(issuer) = here.login().issuer(&provider) else {
        return here.not_signed_in(&NotSignedIn::UnknownProvider, "").into();
    };
    let (Some(named), Some(session)) = (query.one("iss"), query.one("sid")) else {
        return here.pages().framed(400, issuer).into();
    };
    match here
        .login()
        .ended_in_frame(&provider, named, session, here.visitor())
        .await
    {
        Ok(ended) => {
            let mut response = here.pages().framed(200, issuer).into();
            if ended {
                set_cookie(&mut response, &here.front().cookies.clear_session());
            }
            response
        }
        Err(_) => here.pages().framed(503, issuer).into(),
    }
}
