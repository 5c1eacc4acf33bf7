//! `/.well-known/oauth-authorization-server` (RFC 8414): exactly what works.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use serde_json::json;

use crate::login::oauth2::{DEVICE_CODE, SCOPE_ALL, SCOPE_READ, TOKEN_EXCHANGE};
use crate::web::front::Here;

const PATH: &str = "/.well-known/oauth-authorization-server";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.route(PATH, web::get().to(metadata));
}

/// Where clients look for an issuer with a path (RFC 8414, 3.1): the path comes last.
pub(in crate::web) fn at_the_root(base: &str) -> String {
    format!("{PATH}{base}")
}

pub(in crate::web) async fn metadata(here: Here) -> HttpResponse {
    let oauth = here.login().oauth();
    let issuer = oauth.issuer();
    let at = |name: &str| format!("{issuer}/auth/oauth2/{name}");
    let mut grants = vec!["authorization_code", "refresh_token", "client_credentials"];
    if oauth.has_device_flow() {
        grants.push(DEVICE_CODE);
    }
    if oauth.exchanges() {
        grants.push(TOKEN_EXCHANGE);
    }
    let shown = ["client_secret_basic", "client_secret_post", "none"];
    let mut told = json!({
            "issuer": issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "revocation_endpoint": at("revoke"),
            "introspection_endpoint": at("introspect"),
            "jwks_uri": at("jwks"),
            "scopes_supported": [SCOPE_ALL, SCOPE_READ],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": grants,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": shown,
            "revocation_endpoint_auth_methods_supported": shown,
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "bearer"],
            "authorization_response_iss_parameter_supported": true,
    });
    if oauth.has_device_flow() {
        told["device_authorization_endpoint"] = at("device_authorization").into();
    }
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(told)
}
