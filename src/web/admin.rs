//! The operator's API on the web: for whoever shows an admin's token. A cookie opens nothing here, so that no other site can.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, HttpMessage, HttpResponse};
use arc_swap::ArcSwap;

use crate::audit::Actor;
use crate::pipeline::{Gate, Stopped};

use super::admin_api::{self, Acting, AdminError, PREFIX};
use super::{error, guard};

pub fn configure(config: &mut ServiceConfig) {
    config.service(web::scope(PREFIX).wrap(from_fn(as_admin)).configure(admin_api::routes));
}

async fn as_admin(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match acting(&request).await {
        Ok(acting) => {
            request.extensions_mut().insert(acting);
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(refused) => Ok(request.into_response(refused)),
    }
}

async fn acting(request: &ServiceRequest) -> Result<Acting, HttpResponse> {
    let refuse = |error: AdminError| Error::from(error).error_response();
    let gate = request.app_data::<Data<ArcSwap<Gate>>>().map(|gate| gate.load_full());
    let (Some(gate), Some(seen)) = (gate, guard::seen(request.request())) else {
        return Err(refuse(AdminError::NotAdmin));
    };
    let mut shown = request.headers().get_all("authorization");
    let found = match (shown.next(), shown.next()) {
        (Some(value), None) => gate.by_header(value.as_bytes(), seen.address).await,
        (None, _) => Err(Stopped::NotSignedIn),
        (Some(_), Some(_)) => Err(Stopped::BadCredential),
    };
    let (caller, _) =
        found.map_err(|stopped| error::for_program(&stopped.told(&gate.login_url()), seen.id.as_str()))?;
    if !gate.is_admin(&caller) {
        return Err(refuse(AdminError::NotAdmin));
    }
    Ok(Acting(Actor::of(&caller, Vec::new(), Some(seen.address.to_string()))))
}
