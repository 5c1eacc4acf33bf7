//! Answers that list things, cut down to what may be seen, with full pages.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::lookup::Lookup;
use super::{MlflowError, Outgoing};
use crate::domain::{Permission, Resource};
use crate::outbound::UpstreamClient;

/// How one listing request is answered. Reads the canonical request itself, so it is built from the route alone.
#[derive(Clone, Debug)]
pub struct Plan {}

/// What becomes of a listing request.
#[derive(Debug)]
pub enum Cut {
    /// Nothing that the caller asks for is hidden from them: send this and stream the answer as it comes.
    Forward(Outgoing),
    /// The whole answer, JSON.
    Answer(StatusCode, Bytes),
}

impl Plan {
    /// `experiments/search`, GET and POST.
    pub fn experiments() -> Self {
        Self {}
    }
    /// `registered-models/search`: models and prompts.
    pub fn registered_models() -> Self {
        Self {}
    }
    /// `model-versions/search`.
    pub fn model_versions(lookup: Arc<Lookup>) -> Self {
        let _ = lookup;
        Self {}
    }
    /// `runs/search`.
    pub fn runs(lookup: Arc<Lookup>) -> Self {
        let _ = lookup;
        Self {}
    }
    /// `logged-models/search`.
    pub fn logged_models(lookup: Arc<Lookup>) -> Self {
        let _ = lookup;
        Self {}
    }
    /// GET `api/2.0/mlflow/traces`.
    pub fn traces_v2(lookup: Arc<Lookup>) -> Self {
        let _ = lookup;
        Self {}
    }
    /// POST `api/3.0/mlflow/traces/search`.
    pub fn traces_v3(lookup: Arc<Lookup>) -> Self {
        let _ = lookup;
        Self {}
    }

    /// Answers the request with what `may` lets through. `may` is asked READ on one resource, or on every one of a kind.
    ///
    /// # Errors
    /// `Malformed` for a page token or size that cannot be; `Upstream`, `Timeout`.
    pub async fn cut(
        &self,
        client: &UpstreamClient,
        outgoing: &Outgoing,
        may: &dyn Fn(Permission, &Resource) -> bool,
    ) -> Result<Cut, MlflowError> {
        let _ = (client, outgoing, may);
        todo!()
    }
}
