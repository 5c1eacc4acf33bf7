//! One MLflow server: its version, its table, its look-ups; and from a request to what it asks for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::canonical::{self, Target};
use super::listing::Plan;
use super::lookup::{Child, Lookup, Made};
use super::resolve::{self, Parts, Terms};
use super::room::{Place, Room};
use super::routes::{Body, Found, List, Need, Reply, Routes, Row, Verb, Version};
use super::spans::Export;
use super::workspace::Lookups;
use super::{
    Answer, Carried, MlflowError, Outgoing, OutgoingBody, Request, Source, attribution, fields, tags, unseen, workspace,
};
use crate::config::{self, ProtectedAlias};
use crate::domain::{Access, Clock, Identity, Kind, Permission, Resource};
use crate::outbound::UpstreamClient;

/// MLflow's answer to `/version`.
const VERSION_LIMIT: usize = 1024;

pub struct Mlflow {
    client: Arc<UpstreamClient>,
    lookups: Lookups,
    room: Room,
    routes: Routes,
    artifact_roots: Vec<String>,
    protected_aliases: Arc<[ProtectedAlias]>,
    assistant: bool,
    /// `attribution = "enforce"`.
    attribution: bool,
    /// `sharing = "on"`.
    pub(super) sharing: bool,
    /// `authorization = "mlflow"`.
    mlflow_roles: bool,
    /// Set in the configuration: never asked for.
    fixed: bool,
    /// Major and minor, 16 bits each; 0 until it is known.
    version: AtomicU32,
}

impl std::fmt::Debug for Mlflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mlflow")
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

fn malformed(text: impl Into<String>) -> MlflowError {
    MlflowError::Malformed(text.into())
}

impl Mlflow {
    pub fn new(config: &config::Upstream, client: Arc<UpstreamClient>, clock: Arc<dyn Clock>) -> Self {
        let fixed = config.mlflow_version.as_deref().and_then(Version::parse);
        Self {
            lookups: Lookups::new(client.clone(), clock),
            client,
            room: Room::new(),
            routes: Routes::new(),
            artifact_roots: config.artifact_roots.clone(),
            protected_aliases: config.protected_aliases.clone(),
            assistant: config.assistant,
            attribution: config.attribution,
            // What it writes counts here alone.
            sharing: config.sharing && !config.mlflow_roles,
            mlflow_roles: config.mlflow_roles,
            fixed: fixed.is_some(),
            version: AtomicU32::new(fixed.map_or(0, pack)),
        }
    }

    /// Asks the server for its version. What was known stays known when it does not answer.
    pub async fn refresh(&self) {
        if self.fixed {
            return;
        }
        match self.client.fetch(Method::GET, "/version", None, VERSION_LIMIT).await {
            Ok((status, body)) if status.is_success() => match std::str::from_utf8(&body).ok().and_then(Version::parse)
            {
                Some(version) => self.version.store(pack(version), Ordering::Release),
                None => tracing::warn!("MLflow's answer to /version is no version"),
            },
            Ok((status, _)) => tracing::warn!(%status, "MLflow does not tell its version"),
            Err(error) => tracing::warn!(%error, "MLflow does not tell its version"),
        }
    }

    /// Whether the server's version is known.
    pub fn is_ready(&self) -> bool {
        self.version().is_some()
    }

    pub fn version(&self) -> Option<Version> {
        let packed = self.version.load(Ordering::Acquire);
        (packed != 0).then_some(Version((packed >> 16) as u16, (packed & 0xffff) as u16))
    }

    /// The look-ups of a workspace.
    pub fn lookup(&self, workspace: Option<&str>) -> Arc<Lookup> {
        self.lookups.of(workspace)
    }

    /// The client for a request: within the workspace that it is about.
    pub fn client_for(&self, request: &Request) -> Arc<UpstreamClient> {
        match &request.workspace {
            Some(name) => Arc::new(workspace::within(&self.client, name)),
            None => self.client.clone(),
        }
    }

    /// Whether a request needs no credential. The path is raw.
    pub fn is_public(&self, method: &str, path: &str) -> bool {
        let (Ok(method), Ok(target)) = (canonical::method(method), canonical::target(path, None)) else {
            return false;
        };
        let (Some(verb), Some(version)) = (verb_of(&method), self.version()) else {
            return false;
        };
        self.routes
            .find(verb, &target.segments, version)
            .is_some_and(|found| found.row.needs == [Need::Public])
    }

    /// What the request asks for, in its one spelling, and what it makes signed by who asks. `enters`: whether the caller may
    /// use a workspace; in one that they may not, nothing is looked up for them.
    ///
    /// # Errors
    /// `Malformed`, `UnknownRoute`, `TooLarge`, `NotReady`, or what a look-up ran into.
    pub async fn request(
        &self,
        source: &mut impl Source,
        caller: Option<&Identity>,
        enters: &dyn Fn(&str) -> bool,
    ) -> Result<Request, MlflowError> {
        let method = canonical::method(source.method())?;
        let target = canonical::target(source.path(), source.query())?;
        let version = self.version().ok_or(MlflowError::NotReady)?;
        let found = self.find(&method, &target, version)?;
        let row = found.row;
        let carried = source.carried();
        let workspace = workspace::named(one_header(source, workspace::HEADER)?)?;
        if let Some(name) = workspace.as_deref()
            && !self.mlflow_roles
            && row.needs != [Need::Public]
            && !enters(name)
        {
            return Ok(outside(row, method, target, name));
        }
        if carried == Carried::Unseen {
            return self.unseen(source, method, target, &found).await;
        }
        let lookup = self.lookup(workspace.as_deref());
        let (mut body, mut json, place) = read_body(row, source, &self.room).await?;
        one_spelling(&found, &target, json.as_ref())?;
        tags::refuse_reserved(row.action, &tags::named(&found, &target, json.as_ref()))?;
        // What an ingress carries cannot be written anew.
        let signer = caller.filter(|_| self.attribution && carried == Carried::ByUs);
        if let Some(signer) = signer {
            tags::refuse_maker(&found, &target, json.as_ref())?;
            if let Some(json) = &mut json
                && attribution::sign(row, json, signer)?
            {
                body = written(json)?;
            }
        }
        let export = match row.body {
            Body::Otlp => {
                let content_type = one_header(source, "content-type")?.unwrap_or_default();
                let encoding = one_header(source, "content-encoding")?;
                let longest = source.longest_body();
                Some(Export::read(&body, &content_type, encoding.as_deref(), longest)?)
            }
            Body::None | Body::Json | Body::MaybeJson | Body::Stream => None,
        };
        let (mut accesses, plan) = if self.mlflow_roles {
            // Traces that are there keep their makers, whoever decides.
            let started = json.as_ref().and_then(attribution::started).map(str::to_owned);
            for id in export.iter().flat_map(|export| &export.traces).chain(&started) {
                lookup.experiment_of(Child::Trace, id).await?;
            }
            (left_to_mlflow(row), None)
        } else {
            let header = |name: &str| one_header(source, name);
            let parts = Parts {
                found: &found,
                target: &target,
                json: json.as_ref(),
                body: &body,
                export: export.as_ref(),
                header: &header,
            };
            let terms = Terms {
                roots: &self.artifact_roots,
                protected: &self.protected_aliases,
            };
            resolve::accesses(&lookup, terms, &parts).await?
        };
        if let Some(workspace) = workspace.as_ref().filter(|_| !self.mlflow_roles) {
            let workspace = Resource::named(Kind::Workspace, workspace.as_str());
            accesses.push(Access::on(Permission::Use, workspace));
        }
        let names_a_folder = names_a_folder(&target);
        if carried != Carried::ByUs && !self.mlflow_roles {
            accesses.extend(unseen::uncut(row, names_a_folder));
        }
        let signed = match (signer, &export, &mut json) {
            (Some(signer), Some(export), _) => {
                let made = made(&lookup, &export.traces).await?;
                Some(export.signed(&signer.user, &made)?.into())
            }
            (Some(_), None, Some(json)) if row.action == "trace.start" => sign_again(&lookup, json).await?,
            _ => None,
        };
        let body = match row.body {
            Body::Stream => OutgoingBody::Stream,
            _ if body.is_empty() => OutgoingBody::Empty,
            _ => OutgoingBody::Bytes(signed.unwrap_or(body)),
        };
        Ok(Request {
            action: row.action,
            accesses,
            changes: self.mlflow_roles && !row.is_read(),
            is_left_to_mlflow: self.mlflow_roles,
            workspace,
            outgoing: Outgoing {
                method,
                target: target.text,
                body,
            },
            answer: if self.mlflow_roles && row.reply != Reply::ServerInfo {
                Answer::Forward
            } else {
                answer(row.reply, version, plan, lookup, names_a_folder)
            },
            place,
        })
    }

    /// A request whose body an ingress keeps to itself.
    async fn unseen(
        &self,
        source: &impl Source,
        method: Method,
        target: Target,
        found: &Found,
    ) -> Result<Request, MlflowError> {
        let row = found.row;
        let version = self.version().ok_or(MlflowError::NotReady)?;
        let announced = one_header(source, "content-length")?.is_some_and(|length| length != "0");
        if row.body == Body::None && announced {
            return Err(malformed("This request must not have a body."));
        }
        let workspace = workspace::named(one_header(source, workspace::HEADER)?)?;
        let lookup = self.lookup(workspace.as_deref());
        one_spelling(found, &target, None)?;
        tags::refuse_reserved(row.action, &tags::named(found, &target, None))?;
        let header = |name: &str| one_header(source, name);
        let parts = Parts {
            found,
            target: &target,
            json: None,
            body: &Bytes::new(),
            export: None,
            header: &header,
        };
        let terms = Terms {
            roots: &self.artifact_roots,
            protected: &self.protected_aliases,
        };
        let mut accesses = if self.mlflow_roles {
            left_to_mlflow(row)
        } else {
            unseen::all(&lookup, terms, &parts).await?
        };
        if !self.mlflow_roles {
            accesses.extend(unseen::uncut(row, names_a_folder(&target)));
            accesses.extend(unseen::trace_storage(row, version));
        }
        if let Some(workspace) = workspace.as_ref().filter(|_| !self.mlflow_roles) {
            let workspace = Resource::named(Kind::Workspace, workspace.as_str());
            accesses.push(Access::on(Permission::Use, workspace));
        }
        Ok(Request {
            action: row.action,
            accesses,
            changes: self.mlflow_roles && !row.is_read(),
            is_left_to_mlflow: self.mlflow_roles,
            workspace,
            outgoing: Outgoing {
                method,
                target: target.text,
                body: OutgoingBody::Empty,
            },
            answer: Answer::Forward,
            place: None,
        })
    }

    /// An answer passes by: whose the new thing is that it tells of needs no look-up later.
    pub fn passed_by(&self, workspace: Option<&str>, action: &str, answer: &[u8]) {
        if !matches!(action, "run.create" | "logged_model.create" | "trace.start") {
            return;
        }
        let Ok(made) = serde_json::from_slice::<Made>(answer) else {
            return;
        };
        if let Some((child, id, parent)) = made.child() {
            self.lookup(workspace).learn_child(child, id, parent);
        }
    }

    /// A request was carried out: what it may have renamed, deleted or tagged is asked for again.
    pub fn carried_out(&self, request: &Request) {
        let noun = request.action.split('.').next().unwrap_or_default();
        let lookup = self.lookup(request.workspace.as_deref());
        if matches!(
            request.action,
            "dataset.add_experiments" | "dataset.remove_experiments" | "dataset.delete"
        ) {
            lookup.forget_datasets();
        }
        for access in &request.accesses {
            let (permission, resources) = match access {
                Access::On { permission, resource } => (permission, std::slice::from_ref(resource)),
                Access::AnyOf { permission, resources } => (permission, resources.as_slice()),
                Access::Public | Access::Member => continue,
            };
            for resource in resources.iter().filter(|_| *permission > Permission::Read) {
                match (noun, resource.kind, resource.id(), resource.name()) {
                    // A new one has a name alone.
                    ("experiment", Kind::Experiment, id, _) => lookup.forget_experiment(id),
                    ("registered_model", Kind::RegisteredModel | Kind::Prompt, _, Some(name)) => {
                        lookup.forget_model(name);
                    }
                    (_, kind, Some(id), _) if noun == kind.as_str() => lookup.forget_gateway_object(kind, id),
                    _ => {}
                }
            }
        }
    }

    fn find(&self, method: &Method, target: &Target, version: Version) -> Result<Found, MlflowError> {
        let found = verb_of(method)
            .and_then(|verb| self.routes.find(verb, &target.segments, version))
            .filter(|found| *method != Method::HEAD || has_head(found.row))
            .filter(|found| !has_two_readings(found))
            .filter(|found| match found.row.reply {
                Reply::Refused => false,
                Reply::Assistant => self.assistant,
                Reply::OwnAccounts => self.mlflow_roles,
                // Calls of models carry no word of ours on who is asking.
                _ if self.mlflow_roles && target.segments.first().is_some_and(|first| first == "gateway") => false,
                Reply::Forward | Reply::List(_) | Reply::Account(_) | Reply::ServerInfo => true,
            });
        if found.is_none() && target.segments.len() > 1 && target.segments.last().is_some_and(String::is_empty) {
            return Err(malformed("The path ends with a slash."));
        }
        found.ok_or(MlflowError::UnknownRoute)
    }
}

/// Those of the traces that have a maker already. What was just looked up is not asked for again, and new ones were not found.
async fn made(lookup: &Lookup, traces: &BTreeSet<String>) -> Result<BTreeSet<String>, MlflowError> {
    let mut made = BTreeSet::new();
    for id in traces.iter().filter(|id| lookup.is_known(Child::Trace, id)) {
        if lookup.maker_of_trace(id).await?.is_some() {
            made.insert(id.clone());
        }
    }
    Ok(made)
}

/// A trace that is there already keeps its maker, whoever starts it once more.
async fn sign_again(lookup: &Lookup, json: &mut Map<String, Value>) -> Result<Option<Bytes>, MlflowError> {
    let Some(id) = attribution::started(json).filter(|id| lookup.is_known(Child::Trace, id)) else {
        return Ok(None);
    };
    let Some(maker) = lookup.maker_of_trace(id).await? else {
        return Ok(None);
    };
    attribution::sign_again(json, &maker)?;
    written(json).map(Some)
}

fn answer(reply: Reply, version: Version, plan: Option<Plan>, lookup: Arc<Lookup>, names_a_folder: bool) -> Answer {
    if let Some(plan) = plan {
        return Answer::Listed(plan);
    }
    match reply {
        Reply::Forward | Reply::Assistant | Reply::OwnAccounts | Reply::Refused => Answer::Forward,
        Reply::Account(question) => Answer::Account(question),
        Reply::ServerInfo => Answer::ServerInfo,
        Reply::List(List::ArtifactFolders) if names_a_folder => Answer::Forward,
        Reply::List(list) => Answer::Listed(Plan::of(list, version, lookup)),
    }
}

/// A request about a workspace that its sender may not use. Its last access is nobody's, whatever their roles are by then.
fn outside(row: &Row, method: Method, target: Target, workspace: &str) -> Request {
    let used = Access::on(Permission::Use, Resource::named(Kind::Workspace, workspace));
    let nobodys = Access::AnyOf {
        permission: Permission::Manage,
        resources: Vec::new(),
    };
    Request {
        action: row.action,
        accesses: vec![used, nobodys],
        changes: false,
        is_left_to_mlflow: false,
        workspace: Some(workspace.to_owned()),
        outgoing: Outgoing {
            method,
            target: target.text,
            body: OutgoingBody::Empty,
        },
        answer: Answer::Forward,
        place: None,
    }
}

/// What is left to decide where MLflow's own roles do: that the person has any business here.
fn left_to_mlflow(row: &Row) -> Vec<Access> {
    if row.needs == [Need::Public] {
        vec![Access::Public]
    } else {
        vec![Access::Member]
    }
}

/// Whether a list of the artifact store is of one folder in it, and not of its root.
fn names_a_folder(target: &Target) -> bool {
    target
        .query
        .iter()
        .any(|(name, value)| name == "path" && !value.is_empty())
}

fn written(json: &Map<String, Value>) -> Result<Bytes, MlflowError> {
    match serde_json::to_vec(json) {
        Ok(body) => Ok(body.into()),
        Err(_) => Err(malformed("The body cannot be written in one spelling.")),
    }
}

fn pack(version: Version) -> u32 {
    u32::from(version.0) << 16 | u32::from(version.1)
}

fn verb_of(method: &Method) -> Option<Verb> {
    if *method == Method::HEAD {
        Some(Verb::Get)
    } else {
        Verb::of(method)
    }
}

/// MLflow takes `/gateway/proxy/mlflow/invocations` for a call of the endpoint `proxy`; the table's other row, for a proxied
/// call of the endpoint `mlflow`.
fn has_two_readings(found: &Found) -> bool {
    found.row.action == "gateway_endpoint.proxy"
        && found.value("endpoint_name") == Some("mlflow")
        && found.value("path") == Some("invocations")
}

/// HEAD where GET gives a file or the page. On MLflow's API, HEAD ignores the query and looks for a body.
fn has_head(row: &Row) -> bool {
    row.action.starts_with("page.") || row.needs == [Need::Public] || row.path.starts_with("artifacts/{")
}

/// The only value of a header, as text. What `Connection` names is not sent on, so it must not have decided either.
fn one_header(source: &impl Source, name: &str) -> Result<Option<String>, MlflowError> {
    match source.header(name).as_slice() {
        [] => Ok(None),
        _ if is_of_the_connection(source, name) => Err(malformed(format!("Connection must not name {name}."))),
        [value] => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(malformed(format!("The header {name} is not UTF-8."))),
        },
        _ => Err(malformed(format!("The header {name} stands twice."))),
    }
}

fn is_of_the_connection(source: &impl Source, name: &str) -> bool {
    source.header("connection").iter().any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// The body, what it says, and the room that it takes.
type Read = (Bytes, Option<Map<String, Value>>, Option<Place>);

async fn read_body(row: &Row, source: &mut impl Source, room: &Room) -> Result<Read, MlflowError> {
    let none = Bytes::new();
    if row.body == Body::Stream {
        return Ok((none, None, None));
    }
    let length = one_header(source, "content-length")?;
    let announced =
        length.as_deref().is_some_and(|length| length != "0") || !source.header("transfer-encoding").is_empty();
    if row.body == Body::None {
        // MLflow reads the fields of a GET from its body when the query is empty.
        return if announced {
            Err(malformed("This request must not have a body."))
        } else {
            Ok((none, None, None))
        };
    }
    if row.body == Body::Otlp {
        let body = source.body().await?;
        // A value of OTLP's takes some sixteen bytes; packed, two.
        let bytes = if source.header("content-encoding").is_empty() {
            16
        } else {
            2
        };
        let place = room.take(body.len() / bytes).await?;
        return Ok((body, None, place));
    }
    let body = source.body().await?;
    if body.is_empty() {
        return if row.body == Body::MaybeJson {
            Ok((body, None, None))
        } else {
            Err(malformed("The body is missing."))
        };
    }
    if one_header(source, "content-encoding")?.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(malformed("The body must not be packed."));
    }
    let content_type = one_header(source, "content-type")?.unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let untold = row.method == Verb::Delete && media.is_empty();
    if !untold && !media.eq_ignore_ascii_case("application/json") {
        return Err(malformed("The body must be application/json."));
    }
    let weighed = fields::Weighed::of(&body)?;
    let place = room.take(weighed.values).await?;
    let json = weighed.object()?;
    Ok((body, Some(json), place))
}

/// What the path names must not be named otherwise in the body or in the query. And no file path leads out of its folder.
fn one_spelling(found: &Found, target: &Target, json: Option<&Map<String, Value>>) -> Result<(), MlflowError> {
    for (name, value) in &found.values {
        let body = json.and_then(|map| fields::field(map, name)).and_then(Value::as_str);
        let query = target
            .query
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        if query.chain(body).any(|other| other != value) {
            return Err(malformed(format!("{name} differs from the path's.")));
        }
    }
    let path = |name: &str| name == "path" || name == "artifact_file_path" || name == "artifact_directory_path";
    for (name, value) in target.query.iter().filter(|(name, _)| path(name)) {
        let dotted = value
            .split(['/', '\\'])
            .any(|segment| segment == ".." || segment == ".");
        if dotted || canonical::hides_escape(value) || value.contains('\\') {
            return Err(malformed(format!("{name} has more than one reading.")));
        }
    }
    Ok(())
}
