//! `/auth/callback/{provider}`: the browser is back from an identity provider.

use actix_web::{HttpResponse, web};

use super::front::Here;
use super::login::{label, set_cookie};

pub fn configure(config: &mut web::ServiceConfig) {
    // GET alone: a HEAD would use the attempt up.
    config.service(web::resource("/auth/callback/{provider}").route(web::get().to(complete)));
}

async fn complete(here: Here, provider: web::Path<String>) -> HttpResponse {
    match here
        .login()
        .complete(&provider, here.query().as_slice(), here.visitor())
        .await
    {
        Ok(signed_in) => {
            let mut response = here.see_other(signed_in.return_to.as_str());
            set_cookie(&mut response, &here.front().cookies.set_session(&signed_in.cookie));
            response
        }
        Err(why) => here.not_signed_in(&why, label(&here, &provider)).into(),
    }
}
