//! How HTTP becomes a call, and a result HTTP: the whole URL space on one screen.

pub mod account;
pub mod admin;
pub mod admin_api;
mod admin_pages;
pub mod assets;
pub mod callback;
mod check;
pub mod csrf;
pub mod device;
pub mod envoy;
mod error;
pub mod front;
mod guard;
pub mod health;
mod jwks;
pub mod login;
pub mod logout;
pub mod oauth2;
pub mod pages;
mod provider_logout;
mod proxy;
pub mod saml;
pub mod share;
mod words;

#[cfg(test)]
mod tests;

use actix_web::guard::fn_guard;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, http::header::LOCATION};

/// The main listener. `base` is `public_url`'s path. Wants `Data<ArcSwap<Gate>>`, `Data<ArcSwap<Front>>` and `Data<Health>`.
pub fn configure(base: &str) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let base = base.to_owned();
    move |config| {
        let mut site = web::scope(&base)
            .configure(health::configure)
            .configure(login::configure)
            .configure(callback::configure)
            .configure(saml::configure)
            .configure(logout::configure)
            .configure(provider_logout::configure)
            .configure(account::configure)
            .configure(share::configure)
            .configure(assets::configure)
            .configure(jwks::configure)
            .configure(check::configure)
            .configure(oauth2::configure)
            .configure(device::configure)
            .configure(admin::configure)
            .configure(admin_pages::configure)
            // Nothing under /auth is MLflow's, whatever it may have there one day.
            .service(web::scope("/auth").default_service(web::to(error::no_such_page)));
        if !base.is_empty() {
            let home = format!("{base}/");
            site = site.route("", web::get().to(move || std::future::ready(moved(&home))));
        }
        if !base.is_empty() {
            config.service(
                web::resource(oauth2::at_the_root(&base))
                    .wrap(from_fn(guard::see))
                    .route(web::get().to(oauth2::metadata)),
            );
        }
        let ours = fn_guard(move |request| may_be_ours(&base, request.head().uri.path()));
        config
            .service(
                site.default_service(web::to(proxy::pass))
                    .guard(ours)
                    .wrap(from_fn(guard::see)),
            )
            // Past the patterns of our own pages: nearly every request is one for MLflow. Beside `base` is nothing, and the
            // pipeline says so.
            .default_service(web::to(proxy::pass));
    }
}

/// Whether one of our own pages could be meant; the routes decide.
fn may_be_ours(base: &str, path: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|path| path.is_empty() || path.starts_with("/auth") || path.starts_with("/.well-known/"))
}

fn moved(home: &str) -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, home))
        .finish()
}
