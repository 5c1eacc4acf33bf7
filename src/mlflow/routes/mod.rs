//! Every route that MLflow has, what it needs, and where the ids are. A path or method that is not here is refused.
//!
//! One row stands for a method and a path template, under one or two prefixes, in a range of MLflow's versions. The same row
//! names the action for the trail. Sources: `mlflow/server/handlers.py`, `mlflow/protos/service.proto` and the FastAPI
//! routers of each version; the levels are those of `mlflow/server/auth/__init__.py`, but for deleting a thing itself, which
//! needs MANAGE here, and for what reaches the network, the host or everyone, which needs MANAGE on `server`.

mod accounts;
mod artifacts;
mod catalog;
mod gateway;
mod genai;
mod models;
mod server;
mod tracing;
mod tracking;
mod tree;

use http::Method;

use crate::domain::{Kind, Permission};

use super::account::Question;
use super::lookup::Child;

pub use gateway::RELAYED_LIST;
pub use tree::{Found, Routes};

/// A version of MLflow; the patch level changes no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16);

impl Version {
    /// `3.18.0` is 3.18; `None` for what is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let mut number = || parts.next()?.parse().ok();
        Some(Self(number()?, number()?))
    }
}

/// The oldest version whose routes are known. Older servers are answered like this one.
pub const OLDEST: Version = Version(2, 22);
/// The newest version whose routes were compared with a real server. Newer ones get this table: their new routes are refused.
pub const NEWEST: Version = Version(3, 18);

const V3: Version = Version(3, 0);
const V3_2: Version = Version(3, 2);
const FOREVER: Version = Version(u16::MAX, 0);

/// Where a value stands in a request. `a|b` are alternative spellings, `[]` is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Path(&'static str),
    Query(&'static str),
    Body(&'static str),
    /// The body, or the query when the body is empty: protobuf routes with DELETE.
    BodyOrQuery(&'static str),
    Header(&'static str),
}

/// One thing that a row needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Public,
    /// Any role.
    Member,
    /// On the server itself.
    Server(Permission),
    /// MANAGE on the server, but to ask what there is: MLflow's table of runs does so for everyone.
    Relay(At),
    /// On everything of a kind.
    Every(Kind, Permission),
    /// On experiments by id.
    Experiment(Permission, At),
    /// Like `Experiment`, but nothing where the value is missing.
    MaybeExperiment(Permission, At),
    ExperimentNamed(Permission, At),
    /// EDIT on the name of a new experiment, or of a renamed one.
    NewExperiment(At),
    /// Where an experiment's artifacts are to be.
    Location(At),
    /// On the experiment of a run, trace, logged model, …
    Of(Child, Permission, At),
    /// Like `Of`, but nothing where the value is missing.
    MaybeOf(Child, Permission, At),
    /// Like `MaybeOf`, and nothing where no such thing exists yet: the client chose the id of something new.
    OfExisting(Child, Permission, At),
    /// On all experiments of a dataset.
    Dataset(Permission, At),
    /// On a registered model or prompt, whichever bears the name.
    Model(Permission, At),
    /// Like `Model`, but nothing where the value is missing.
    MaybeModel(Permission, At),
    /// EDIT on the name of a new model or prompt; which of both, its tags say.
    NewModel(At),
    /// EDIT on the new name, of the kind that the old name bears: (old, new).
    RenamedModel(At, At),
    /// On a model of which a protected alias is moved: (name, alias).
    MovesAlias(At, At),
    /// On a model of which a version enters or leaves a protected stage: (name, version, stage).
    MovesStage(At, At, At),
    /// On a model that bears protected aliases or stages, or brings them under a new name: (old, new).
    MovesAll(At, At),
    /// On a scorer by its experiment and its name: (permission, experiment, name).
    Scorer(Permission, At, At),
    /// USE on the endpoints that scorers call, as the request describes them or MLflow keeps them: (experiment, description).
    Judges(At, At),
    /// USE on the endpoint and the secret that the body chooses.
    ChosenModel,
    /// READ on where a model version's files come from: `source`, with `run_id` beside it.
    Source,
    /// On a gateway secret, endpoint or model definition by id.
    Gateway(Kind, Permission, At),
    /// Like `Gateway`, but nothing where the value is missing.
    MaybeGateway(Kind, Permission, At),
    /// On a thing that is its own name.
    Named(Kind, Permission, At),
    /// Like `Named`, but nothing where the value is missing.
    MaybeNamed(Kind, Permission, At),
    /// On an MCP server: `namespace/slug` from two segments.
    McpServer(Permission),
    /// On a skill: `@organization/name`, or its name.
    Skill(Permission),
    /// On each of `skills[].name` under the body's organization.
    Skills(Permission),
    /// On a path of the artifact store.
    ArtifactPath(Permission, At),
    /// On the runs and experiments that spans are sent to, and on the traces that they join (OTLP).
    Spans,
    /// What a GraphQL document reads.
    GraphQl,
    /// On a workspace.
    Workspace(Permission, At),
}

/// What is read of the body to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There must be none.
    None,
    /// A JSON object.
    Json,
    /// A JSON object or nothing.
    MaybeJson,
    /// Nothing: passed on as it comes.
    Stream,
    /// Spans in protobuf or JSON.
    Otlp,
}

/// Who answers, and what becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Forward,
    List(List),
    Account(Question),
    ServerInfo,
    /// MLflow, where its own roles hold; else refused.
    OwnAccounts,
    /// Known, and refused to everyone.
    Refused,
    /// Known, and refused unless the upstream's `assistant` is on.
    Assistant,
}

/// The answers that are cut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Experiments,
    Runs,
    RegisteredModels,
    ModelVersions,
    LoggedModels,
    TracesV2,
    TracesV3,
    /// Traces and their infos by id.
    Traces,
    TraceInfos,
    /// The datasets that runs had as inputs.
    Inputs,
    /// Evaluation datasets.
    Datasets,
    Scorers,
    OnlineConfigs,
    Issues,
    MetricHistory,
    MetricHistoryInterval,
    GatewaySecrets,
    GatewayModelDefinitions,
    GatewayEndpoints,
    GatewayBindings,
    /// Endpoints as OpenAI's API lists models.
    GatewayModels,
    McpServers,
    McpEndpoints,
    Skills,
    Workspaces,
    /// What the server behind MLflow's relay has.
    RelayedEndpoints,
    /// The root of the artifact store: a folder for each experiment.
    ArtifactFolders,
}

/// Where a row's path hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `/api/2.0/mlflow` and `/ajax-api/2.0/mlflow`.
    Two,
    /// `/api/3.0/mlflow` and `/ajax-api/3.0/mlflow`.
    Three,
    /// `/ajax-api/2.0/mlflow` alone.
    AjaxTwo,
    /// `/ajax-api/3.0/mlflow` alone.
    AjaxThree,
    /// `/api/2.0/mlflow-artifacts` and its twin.
    Artifacts,
    /// The root.
    Root,
}

impl Base {
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Two => &["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"],
            Self::Three => &["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"],
            Self::AjaxTwo => &["/ajax-api/2.0/mlflow"],
            Self::AjaxThree => &["/ajax-api/3.0/mlflow"],
            Self::Artifacts => &["/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"],
            Self::Root => &[""],
        }
    }
}

/// The methods that rows are about. HEAD and OPTIONS are none: what they would tell, GET tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One route. Templates: `{name}` is a segment, or a part of one; `{name...}` at the end is one or more segments.
#[derive(Clone, Debug)]
pub struct Row {
    pub method: Verb,
    pub base: Base,
    pub path: &'static str,
    /// `noun.verb`.
    pub action: &'static str,
    pub needs: &'static [Need],
    pub body: Body,
    pub reply: Reply,
    /// In versions from `since` up to, but without, `until`.
    pub since: Version,
    pub until: Version,
}

const fn row(method: Verb, base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    let body = match method {
        Verb::Post | Verb::Put | Verb::Patch => Body::Json,
        Verb::Delete => Body::MaybeJson,
        Verb::Get => Body::None,
    };
    Row {
        method,
        base,
        path,
        action,
        needs,
        body,
        reply: Reply::Forward,
        since: OLDEST,
        until: FOREVER,
    }
}

const fn get(base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    row(Verb::Get, base, path, action, needs)
}

const fn post(base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    row(Verb::Post, base, path, action, needs)
}

const fn put(base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    row(Verb::Put, base, path, action, needs)
}

const fn patch(base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    row(Verb::Patch, base, path, action, needs)
}

const fn delete(base: Base, path: &'static str, action: &'static str, needs: &'static [Need]) -> Row {
    row(Verb::Delete, base, path, action, needs)
}

impl Row {
    const fn with(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    const fn reply(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    const fn list(self, list: List) -> Self {
        self.reply(Reply::List(list))
    }

    const fn since(mut self, since: Version) -> Self {
        self.since = since;
        self
    }

    const fn until(mut self, until: Version) -> Self {
        self.until = until;
        self
    }

    /// The full templates.
    pub fn templates(&self) -> impl Iterator<Item = String> + '_ {
        self.base
            .prefixes()
            .iter()
            .map(|prefix| format!("{prefix}/{}", self.path))
    }

    pub fn holds_in(&self, version: Version) -> bool {
        self.since <= version.max(OLDEST) && version < self.until
    }

    /// Whether nothing is changed by it.
    pub fn is_read(&self) -> bool {
        self.method == Verb::Get || matches!(self.reply, Reply::List(_))
    }
}

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [
        tracking::ROWS,
        models::ROWS,
        tracing::ROWS,
        artifacts::ROWS,
        genai::ROWS,
        gateway::ROWS,
        catalog::ROWS,
        server::ROWS,
        accounts::ROWS,
    ]
    .into_iter()
    .flatten()
}
