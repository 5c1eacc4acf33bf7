//! The authorization server's endpoints.

mod authorize;
mod endpoints;
mod metadata;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::login::oauth2::OauthError;

pub(super) use authorize::{lifetime, trouble};
pub(super) use metadata::{at_the_root, metadata};

/// A subject token of RFC 8693 is the longest thing that comes. Bytes.
const BODY_LIMIT: usize = 40 * 1024;

pub fn configure(config: &mut ServiceConfig) {
    let limit = || web::PayloadConfig::new(BODY_LIMIT);
    let endpoint = |path: &str| web::resource(path).app_data(limit());
    config
        .configure(authorize::configure)
        .configure(metadata::configure)
        .service(
            endpoint("/auth/oauth2/token")
                .route(web::post().to(endpoints::token))
                .default_service(web::to(only_post)),
        )
        .service(
            endpoint("/auth/oauth2/device_authorization")
                .route(web::post().to(endpoints::device_authorization))
                .default_service(web::to(only_post)),
        )
        .service(
            endpoint("/auth/oauth2/revoke")
                .route(web::post().to(endpoints::revoke))
                .default_service(web::to(only_post)),
        )
        .service(
            endpoint("/auth/oauth2/introspect")
                .route(web::post().to(endpoints::introspect))
                .default_service(web::to(only_post)),
        );
}

/// RFC 6749, 5.2.
fn refused(error: &OauthError) -> HttpResponse {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = HttpResponse::build(status);
    response
        .insert_header(("cache-control", "no-store"))
        .insert_header(("x-content-type-options", "nosniff"));
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header(("www-authenticate", "Basic realm=\"mlgate\""));
    }
    if let Some(seconds) = error.retry_after() {
        response.insert_header(("retry-after", seconds.to_string()));
    }
    response.json(json!({"error": error.code(), "error_description": error.description()}))
}

async fn only_post(_: HttpRequest) -> HttpResponse {
    let error = OauthError::InvalidRequest("send a POST with a form".to_owned());
    let mut response = refused(&error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    if let Ok(allow) = "POST".parse() {
        response.headers_mut().insert(actix_web::http::header::ALLOW, allow);
    }
    response
}
