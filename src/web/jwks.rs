//! `/auth/oauth2/jwks`: the keys that assertions are checked with.

use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;

use crate::pipeline::Gate;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.route("/auth/oauth2/jwks", web::get().to(jwks));
}

async fn jwks(gate: web::Data<ArcSwap<Gate>>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "public, max-age=300"))
        .json(gate.load().assertions().jwks())
}
