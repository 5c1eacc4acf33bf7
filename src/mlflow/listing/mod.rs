//! Answers that list things, cut down to what may be seen, with full pages.

mod paging;
mod parameters;
mod row;
mod scoped;
mod token;
mod unpaged;
mod unscoped;
mod within;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use self::parameters::Parameters;
pub(super) use self::scoped::{readable, readable_children};
pub(super) use self::within::Seen;
use super::graphql::Document;
use super::lookup::Lookup;
use super::routes::{List, Version};
use super::{MlflowError, Outgoing, OutgoingBody};
use crate::domain::{Access, Kind, Permission, Resource};
use crate::outbound::UpstreamClient;
use crate::store::Sealer;

/// The oldest version that was seen to take `experiment_id IN ('1','2')` in the filter of experiments; 3.5 does not.
const WITH_IDS: Version = Version(3, 18);

/// One upstream page, at most. Larger ones are refused: a client can ask for smaller pages.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Whose view of a list it is.
pub struct View<'a> {
    /// Whether the caller is granted an access.
    pub may: &'a dyn Fn(&Access) -> bool,
    /// Seals the page tokens that the caller gets.
    pub sealer: &'a Sealer,
    /// The caller, and the upstream: a page token is of use to nobody else, and nowhere else.
    pub reader: &'a str,
    /// Equal for callers with the same roles under the same configuration.
    pub rights: u64,
}

impl View<'_> {
    pub(super) fn reads(&self, resource: Resource) -> bool {
        (self.may)(&Access::on(Permission::Read, resource))
    }

    /// By a grant on either, and a DENY on neither.
    pub(super) fn reads_either(&self, resources: [Resource; 2]) -> bool {
        (self.may)(&Access::AnyOf {
            permission: Permission::Read,
            resources: resources.into(),
        })
    }

    pub(super) fn reads_every(&self, kind: Kind) -> bool {
        self.reads(Resource::every(kind))
    }

    /// Whether it may be seen whichever of both it is, and whoever made it.
    pub(super) fn reads_by_name(&self, name: &str) -> bool {
        [Kind::RegisteredModel, Kind::Prompt]
            .into_iter()
            .all(|kind| self.reads(Resource::named(kind, name)))
    }

    fn sees_all(&self, list: List) -> bool {
        uncut(list).iter().all(self.may)
    }
}

/// How one listing request is answered. Reads the canonical request itself, so it is built from the route alone.
#[derive(Clone, Debug)]
pub struct Plan(How);

#[derive(Clone, Debug)]
enum How {
    /// The flag: whether this MLflow has `experiment_id IN`.
    List(List, bool, Arc<Lookup>),
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

/// What it takes to see all of a list, and so to have it from who does not cut it down.
pub(super) fn uncut(list: List) -> Vec<Access> {
    let every = |kind| Access::on(Permission::Read, Resource::every(kind));
    match list {
        List::Experiments
        | List::Runs
        | List::LoggedModels
        | List::TracesV2
        | List::TracesV3
        | List::Traces
        | List::TraceInfos
        | List::Inputs
        | List::Datasets
        | List::Issues
        | List::MetricHistory
        | List::MetricHistoryInterval
        | List::ArtifactFolders => vec![every(Kind::Experiment)],
        List::Scorers | List::OnlineConfigs => vec![Access::AnyOf {
            permission: Permission::Read,
            resources: [Kind::Scorer, Kind::Experiment].map(Resource::every).into(),
        }],
        List::RegisteredModels | List::ModelVersions => vec![every(Kind::RegisteredModel), every(Kind::Prompt)],
        List::GatewaySecrets => vec![every(Kind::GatewaySecret)],
        List::GatewayModelDefinitions => vec![every(Kind::GatewayModelDefinition)],
        List::GatewayEndpoints | List::GatewayBindings | List::GatewayModels => vec![every(Kind::GatewayEndpoint)],
        List::McpServers | List::McpEndpoints => vec![every(Kind::McpServer)],
        List::Skills => vec![every(Kind::Skill)],
        List::Workspaces => vec![every(Kind::Workspace)],
        List::RelayedEndpoints => vec![Access::on(Permission::Read, Resource::server())],
    }
}

impl Plan {
    pub fn of(list: List, version: Version, lookup: Arc<Lookup>) -> Self {
        Self(How::List(list, version >= WITH_IDS, lookup))
    }

    pub(super) fn graphql(document: Document, lookup: Arc<Lookup>) -> Self {
        Self(How::GraphQl(Arc::new(document), lookup))
    }

    /// Answers the request with what the view lets through.
    ///
    /// # Errors
    /// `Malformed` for a page token, a page size or a list of ids that cannot be; `Upstream`, `Timeout`.
    pub async fn cut(&self, client: &UpstreamClient, outgoing: &Outgoing, view: &View<'_>) -> Result<Cut, MlflowError> {
        let (list, with_ids, lookup) = match &self.0 {
            How::List(list, with_ids, lookup) => (*list, *with_ids, lookup),
            How::GraphQl(document, lookup) => return document.cut(client, lookup, &outgoing.target, view).await,
        };
        match list {
            List::Experiments
            | List::RegisteredModels
            | List::ModelVersions
            | List::Datasets
            | List::Issues
            | List::McpServers
            | List::McpEndpoints
            | List::Skills => Box::pin(unscoped::cut(list, with_ids, client, lookup, outgoing, view)).await,
            List::Runs
            | List::LoggedModels
            | List::TracesV2
            | List::TracesV3
            | List::Inputs
            | List::MetricHistory
            | List::MetricHistoryInterval
            | List::Traces
            | List::TraceInfos => Box::pin(scoped::cut(list, client, lookup, outgoing, view)).await,
            List::Scorers
            | List::OnlineConfigs
            | List::GatewaySecrets
            | List::GatewayModelDefinitions
            | List::GatewayEndpoints
            | List::GatewayBindings
            | List::GatewayModels
            | List::Workspaces
            | List::RelayedEndpoints
            | List::ArtifactFolders => Box::pin(unpaged::cut(list, client, lookup, outgoing, view)).await,
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
