//! Everything that is not ours: through the pipeline to MLflow.

use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;

use crate::pipeline::{Gate, Incoming};

use super::error::{self, Asking};
use super::front::Front;
use super::guard;

pub(super) async fn pass(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<ArcSwap<Gate>>,
    front: web::Data<ArcSwap<Front>>,
) -> HttpResponse {
    let gate = gate.load_full();
    // What could have been ours was seen before.
    let seen = guard::seen(&request).unwrap_or_else(|| gate.see(&request));
    let incoming = Incoming::new(request.clone(), payload.into_inner(), gate.config(), seen.clone());
    // Boxed: the way of a request is a large thing to move from service to service.
    match Box::pin(gate.pass(incoming)).await {
        Ok(response) => response,
        Err(halted) => {
            let pages = &front.load().pages;
            let id = seen.id.as_str();
            let asking = Asking::of(&request);
            let mut answer = Box::pin(error::answer(&asking, &gate, pages, id, halted)).await;
            guard::name(&mut answer, id);
            answer
        }
    }
}
