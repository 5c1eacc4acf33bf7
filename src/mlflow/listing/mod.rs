//! Answers that list things, cut down to what may be seen, with full pages.

mod paging;
mod parameters;
mod row;
mod scoped;
mod unscoped;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use self::parameters::Parameters;
pub(super) use self::scoped::readable;
use super::graphql::Document;
use super::lookup::Lookup;
use super::{MlflowError, Outgoing, OutgoingBody};
use crate::domain::{Permission, Resource};
use crate::outbound::UpstreamClient;

/// One upstream page, at most. Larger ones are refused: a client can ask for smaller pages.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// What is asked of the permit: READ on one resource, or on every one of a kind.
type May<'a> = &'a dyn Fn(Permission, &Resource) -> bool;

/// How one listing request is answered. Reads the canonical request itself, so it is built from the route alone.
#[derive(Clone, Debug)]
pub struct Plan(How);

#[derive(Clone, Debug)]
enum How {
    /// The upstream lists all; rows that may not be seen are left out, and pages filled up again.
    Unscoped(unscoped::List),
    /// The request names experiments; those that may not be seen are left out of it.
    Scoped(scoped::List, Arc<Lookup>),
    GraphQl(Arc<Document>, Arc<Lookup>),
}

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
        Self(How::Unscoped(unscoped::List::Experiments))
    }

    /// `registered-models/search`: models and prompts.
    pub fn registered_models() -> Self {
        Self(How::Unscoped(unscoped::List::RegisteredModels))
    }

    /// `model-versions/search`.
    pub fn model_versions(lookup: Arc<Lookup>) -> Self {
        Self(How::Unscoped(unscoped::List::ModelVersions(lookup)))
    }

    /// `runs/search`.
    pub fn runs(lookup: Arc<Lookup>) -> Self {
        Self(How::Scoped(scoped::List::Runs, lookup))
    }

    /// `logged-models/search`.
    pub fn logged_models(lookup: Arc<Lookup>) -> Self {
        Self(How::Scoped(scoped::List::LoggedModels, lookup))
    }

    /// GET `api/2.0/mlflow/traces`.
    pub fn traces_v2(lookup: Arc<Lookup>) -> Self {
        Self(How::Scoped(scoped::List::TracesV2, lookup))
    }

    /// POST `api/3.0/mlflow/traces/search`.
    pub fn traces_v3(lookup: Arc<Lookup>) -> Self {
        Self(How::Scoped(scoped::List::TracesV3, lookup))
    }

    pub(super) fn graphql(document: Document, lookup: Arc<Lookup>) -> Self {
        Self(How::GraphQl(Arc::new(document), lookup))
    }

    /// Answers the request with what `may` lets through. `may` is asked READ on one resource, or on every one of a kind.
    ///
    /// # Errors
    /// `Malformed` for a page token, a page size or a list of ids that cannot be; `Upstream`, `Timeout`.
    pub async fn cut(
        &self,
        client: &UpstreamClient,
        outgoing: &Outgoing,
        may: &dyn Fn(Permission, &Resource) -> bool,
    ) -> Result<Cut, MlflowError> {
        match &self.0 {
            How::Unscoped(list) => list.cut(client, outgoing, may).await,
            How::Scoped(list, lookup) => list.cut(client, lookup, outgoing, may).await,
            How::GraphQl(document, lookup) => document.cut(client, lookup, &outgoing.target, may).await,
        }
    }
}

/// Asks the upstream a list request.
async fn ask(client: &UpstreamClient, request: Outgoing) -> Result<(StatusCode, Bytes), MlflowError> {
    let body = match request.body {
        OutgoingBody::Bytes(body) => Some(body),
        OutgoingBody::Empty | OutgoingBody::Stream => None,
    };
    Ok(client
        .fetch(request.method, &request.target, body, ANSWER_LIMIT)
        .await?)
}

/// Asks the upstream a GraphQL document.
pub(super) async fn post(
    client: &UpstreamClient,
    target: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), MlflowError> {
    let request = Outgoing {
        method: Method::POST,
        target: target.to_owned(),
        body: OutgoingBody::Bytes(body),
    };
    ask(client, request).await
}

/// A list without rows, as MLflow says it.
fn empty() -> Cut {
    Cut::Answer(StatusCode::OK, Bytes::from_static(b"{}"))
}
