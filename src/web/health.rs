//! Alive, ready, and what is lost at the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use crate::audit::Audit;
use crate::pipeline::Gate;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What readiness is read from.
pub struct Health {
    pub stopping: AtomicBool,
    /// Once ready, what is lost later takes no replica away.
    pub was_ready: AtomicBool,
    pub store: Arc<dyn Store>,
    pub audit: Arc<Audit>,
    pub metrics: Arc<Metrics>,
}

impl Health {
    pub fn is_ready(&self, gate: &Gate) -> bool {
        if self.stopping.load(Ordering::Acquire) {
            return false;
        }
        if self.was_ready.load(Ordering::Acquire) {
            return true;
        }
        let ready = gate.upstreams().iter().all(|upstream| upstream.mlflow.is_ready());
        self.was_ready.fetch_or(ready, Ordering::AcqRel);
        ready
    }
}

/// On the main listener: whether, and nothing more.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/auth/healthz", web::get().to(alive))
        .route("/auth/healthz", web::head().to(alive))
        .route("/auth/readyz", web::get().to(ready))
        .route("/auth/readyz", web::head().to(ready));
}

/// On the admin listener: what is lost too, and the metrics.
pub fn configure_admin(config: &mut web::ServiceConfig) {
    config
        .route("/auth/healthz", web::get().to(alive))
        .route("/auth/healthz", web::head().to(alive))
        .route("/auth/readyz", web::get().to(ready_with_details))
        .route("/auth/readyz", web::head().to(ready_with_details))
        .route("/metrics", web::get().to(metrics));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header(NO_STORE).json(json!({"status": "ok"}))
}

async fn ready(health: web::Data<Health>, gate: web::Data<ArcSwap<Gate>>) -> HttpResponse {
    told(health.is_ready(&gate.load()), json!({}))
}

/// A part that says nothing for so long is told as lost: whoever asks for readiness has a time limit of its own, and readiness does not depend on it.
const PATIENCE: Duration = Duration::from_secs(2);

async fn ready_with_details(health: web::Data<Health>, gate: web::Data<ArcSwap<Gate>>) -> HttpResponse {
    let gate = gate.load_full();
    let upstreams = gate.upstreams().iter().map(|upstream| async {
        let answer = upstream.client.fetch(http::Method::GET, "/version", None, 4096);
        let text = match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.err()?.to_string(),
            Err(_) => SILENT.to_owned(),
        };
        Some(json!({"part": "mlflow", "name": upstream.name, "text": text}))
    });
    let (store, upstreams, providers) = tokio::join!(
        timeout(PATIENCE, health.store.ping()),
        join_all(upstreams),
        timeout(PATIENCE, gate.providers_away()),
    );
    let mut degraded = Vec::new();
    let store = store.map_or_else(
        |_| Some(SILENT.to_owned()),
        |answer| answer.err().map(|error| error.to_string()),
    );
    if let Some(text) = store {
        degraded.push(json!({"part": "store", "text": text}));
    }
    if !health.audit.healthy() {
        degraded.push(json!({"part": "audit", "text": "the trail cannot be written"}));
    }
    degraded.extend(upstreams.into_iter().flatten());
    match providers {
        Ok(away) => degraded.extend(
            away.into_iter()
                .map(|(name, text)| json!({"part": "provider", "name": name, "text": text})),
        ),
        Err(_) => degraded.push(json!({"part": "provider", "text": SILENT})),
    }
    told(health.is_ready(&gate), json!({"degraded": degraded}))
}

const SILENT: &str = "did not answer in time";
const NO_STORE: (&str, &str) = ("cache-control", "no-store");

fn told(is_ready: bool, mut body: serde_json::Value) -> HttpResponse {
    body["status"] = if is_ready { "ready" } else { "not ready" }.into();
    let mut response = if is_ready {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response.insert_header(NO_STORE).json(body)
}

async fn metrics(health: web::Data<Health>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(health.metrics.render())
}
