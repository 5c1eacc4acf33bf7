//! What stands before our own pages: an id, the client's address, and whether it may connect at all. For what is MLflow's the
//! pipeline does the same, and records it.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;

use crate::pipeline::{Gate, Seen, head_size};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts what was seen into the request, and the request's id onto the answer.
pub(super) async fn see(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(gate) = request
        .app_data::<web::Data<ArcSwap<Gate>>>()
        .map(|gate| gate.load_full())
    else {
        return Err(actix_web::error::ErrorInternalServerError("the gate is not set up"));
    };
    let seen = gate.see(request.request());
    let id = seen.id.clone();
    let is_ours = is_ours(gate.base_path(), request.path());
    let may_come_in = gate.may_connect(seen.address) || !is_ours;
    let fits = !is_ours || gate.has_room_for(head_size(request.request()));
    request.extensions_mut().insert(seen);
    let mut response = if !may_come_in {
        request.into_response(super::error::not_admitted(id.as_str()))
    } else if fits {
        next.call(request).await?.map_into_boxed_body()
    } else {
        request.into_response(super::error::too_many_headers(id.as_str()))
    };
    name(response.response_mut(), id.as_str());
    Ok(response)
}

/// Every answer, an error's too, carries its request's id.
pub(super) fn name<B>(answer: &mut HttpResponse<B>, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id)
        && !answer.headers().contains_key(REQUEST_ID)
    {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
}

/// Our own pages, which `[network]` closes here; the pipeline does it for what is MLflow's, and records it. Probes are let in:
/// their addresses are on no list.
fn is_ours(base: &str, path: &str) -> bool {
    path.strip_prefix(base).is_some_and(|path| {
        (path == "/auth" || path.starts_with("/auth/")) && path != "/auth/healthz" && path != "/auth/readyz"
    })
}

/// What the guard saw of a request.
pub(super) fn seen(request: &HttpRequest) -> Option<Seen> {
    request.extensions().get::<Seen>().cloned()
}
