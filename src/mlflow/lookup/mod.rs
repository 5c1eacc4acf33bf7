//! From the ids in a request to the names that grants speak of, asked of the upstream and remembered for a while.

mod cache;
mod described;
mod index;
mod question;
mod registry;
mod scorers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use quick_cache::sync::Cache;
use serde_json::Value;

use self::cache::Remembered;
pub(super) use self::described::Made;
pub use self::described::{ExperimentRef, ModelRef, is_prompt_tag};
use self::described::{experiment_in, model_in, pairs_in};
use self::index::Index;
pub(super) use self::index::{Census, Entry};
use self::question::{Question, is_experiment_id, is_plain_id, query, text};
use super::listing::{Seen, View};
use super::{MlflowError, attribution};
use crate::domain::{Clock, Kind};
use crate::outbound::UpstreamClient;

/// A run, trace or logged model never moves; but SQLite may give the id of a purged experiment to a new one.
const CHILD_LIFETIME: Duration = Duration::from_secs(600);

/// Names change: a rename elsewhere is noticed after this.
const NAME_LIFETIME: Duration = Duration::from_secs(30);

/// Past this many unknown experiments, pages of all of them cost MLflow less than one question each.
const FEW: usize = 100;

/// Likewise with models.
const FEW_MODELS: usize = 20;

/// Experiments in one page of all, and pages at most.
const PAGE: usize = 1000;
const PAGES: usize = 100;

/// Callers whose part of all experiments is remembered.
const READERS: usize = 1000;

/// Look-ups in flight for one request.
const AT_ONCE: usize = 8;

/// What belongs to exactly one experiment for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    Run,
    Trace,
    LoggedModel,
    Issue,
    ReviewQueue,
    LabelSchema,
    PromptOptimizationJob,
}

/// The look-ups of one upstream. Whatever is not surely known is `None` or an error, never somebody's right.
pub struct Lookup {
    question: Question,
    /// `None`: MLflow's `default`.
    workspace: Option<Box<str>>,
    children: Remembered<(Child, String), Arc<str>>,
    experiments: Remembered<String, Arc<ExperimentRef>>,
    models: Remembered<String, Arc<ModelRef>>,
    datasets: Remembered<String, Arc<[String]>>,
    gateway: Remembered<(Kind, String), Arc<str>>,
    index: Index,
    seen: Cache<(String, u64), (u64, Arc<Seen>)>,
    /// Who made a trace; only those that say it.
    makers: Remembered<String, Arc<str>>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl Lookup {
    pub fn new(client: Arc<UpstreamClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            question: Question::new(client),
            workspace: None,
            children: Remembered::new(50_000, CHILD_LIFETIME, clock.clone()),
            experiments: Remembered::new(20_000, NAME_LIFETIME, clock.clone()),
            models: Remembered::new(20_000, NAME_LIFETIME, clock.clone()),
            datasets: Remembered::new(5_000, NAME_LIFETIME, clock.clone()),
            gateway: Remembered::new(2_000, NAME_LIFETIME, clock.clone()),
            index: Index::new(clock.clone()),
            seen: Cache::new(READERS),
            makers: Remembered::new(50_000, CHILD_LIFETIME, clock),
        }
    }

    /// Of a workspace, in which the client speaks already.
    pub fn within(self, workspace: &str) -> Self {
        Self {
            workspace: Some(workspace.into()),
            ..self
        }
    }

    pub fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    /// `None` where the upstream has no such experiment; deleted ones are found.
    pub async fn experiment(&self, id: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        if !is_experiment_id(id) {
            return Ok(None);
        }
        let ask = async {
            let target = query("/api/2.0/mlflow/experiments/get", &[("experiment_id", id)]);
            let found = self.question.get(&target).await?;
            // MLflow reads ids with Python's int(): what it found must be what was asked.
            Ok(found
                .as_ref()
                .and_then(|answer| experiment_in(answer.get("experiment")?))
                .filter(|found| found.id == id)
                .map(Arc::new))
        };
        self.experiments.get_or_ask(&id.to_owned(), ask).await
    }

    /// Without asking: `None` where it is not remembered.
    pub fn held_experiment(&self, id: &str) -> Option<Arc<ExperimentRef>> {
        self.experiments.held(&id.to_owned())
    }

    /// Without asking: `None` where it is not remembered.
    pub fn held_experiment_of(&self, child: Child, id: &str) -> Option<Arc<ExperimentRef>> {
        let parent = self.children.held(&(child, id.to_owned()))?;
        self.held_experiment(&parent)
    }

    /// Whether a thing was there when it was last asked for, without asking.
    pub fn is_known(&self, child: Child, id: &str) -> bool {
        self.children.get(&(child, id.to_owned())).is_some()
    }

    /// Several at once, in their order.
    pub async fn experiments(&self, ids: &[String]) -> Result<Vec<Option<Arc<ExperimentRef>>>, MlflowError> {
        let unknown = ids.iter().filter(|id| self.experiments.get(id).is_none()).count();
        if unknown > FEW {
            self.learn_all_experiments(ids).await?;
            return Ok(ids.iter().map(|id| self.held_experiment(id)).collect());
        }
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(self.experiment(id).await?);
        }
        Ok(found)
    }

    /// All experiments by name; `None` where this MLflow cannot be asked so, or has too many.
    pub(super) async fn census(&self) -> Option<Arc<Census>> {
        Box::pin(self.index.census(&self.question)).await
    }

    /// What of the census a caller may see: remembered for as long as neither it nor their rights change.
    pub(super) fn seen(&self, census: &Census, view: &View<'_>) -> Arc<Seen> {
        let key = (view.reader.to_owned(), view.rights);
        if let Some((generation, seen)) = self.seen.get(&key)
            && generation == census.generation
        {
            return seen;
        }
        let seen = Arc::new(Seen::of(census, view));
        self.seen.insert(key, (census.generation, seen.clone()));
        seen
    }

    /// Not remembered: the name may mean another experiment by the next request.
    pub async fn experiment_named(&self, name: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        let target = query("/api/2.0/mlflow/experiments/get-by-name", &[("experiment_name", name)]);
        let found = self.question.get(&target).await?;
        // A database that compares without case may find another name.
        let found = found
            .as_ref()
            .and_then(|answer| experiment_in(answer.get("experiment")?))
            .filter(|found| found.name == name)
            .map(Arc::new);
        if let Some(found) = &found {
            self.experiments.learn(found.id.clone(), found.clone());
        }
        Ok(found)
    }

    pub async fn experiment_of(&self, child: Child, id: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        if !is_plain_id(id) {
            return Ok(None);
        }
        let parent = self
            .children
            .get_or_ask(&(child, id.to_owned()), Box::pin(self.parent(child, id)))
            .await?;
        match parent {
            Some(parent) => self.experiment(&parent).await,
            None => Ok(None),
        }
    }

    async fn parent(&self, child: Child, id: &str) -> Result<Option<Arc<str>>, MlflowError> {
        let get = |target: String| async move { self.question.get(&target).await };
        let (answer, pointer, own_id) = match child {
            Child::Run => (
                get(query("/api/2.0/mlflow/runs/get", &[("run_id", id)])).await?,
                "/run/info/experiment_id",
                "/run/info/run_id",
            ),
            Child::Trace => return self.parent_of_trace(id).await,
            Child::LoggedModel => (
                // MLflow 2 knows no logged models, and ignores their ids.
                self.question
                    .get_if_routed(&format!("/api/2.0/mlflow/logged-models/{id}"))
                    .await?
                    .flatten(),
                "/model/info/experiment_id",
                "/model/info/model_id",
            ),
            Child::Issue => (
                get(format!("/api/3.0/mlflow/issues/{id}")).await?,
                "/issue/experiment_id",
                "/issue/issue_id",
            ),
            Child::ReviewQueue => (
                get(query("/api/3.0/mlflow/review-queues/get", &[("queue_id", id)])).await?,
                "/review_queue/experiment_id",
                "/review_queue/queue_id",
            ),
            Child::LabelSchema => (
                get(query("/api/3.0/mlflow/label-schemas/get", &[("schema_id", id)])).await?,
                "/label_schema/experiment_id",
                "/label_schema/schema_id",
            ),
            Child::PromptOptimizationJob => (
                get(format!("/api/3.0/mlflow/prompt-optimization/jobs/{id}")).await?,
                "/job/experiment_id",
                "/job/job_id",
            ),
        };
        Ok(answer.and_then(|answer| {
            let found = text(&answer, own_id)?;
            (found == id).then(|| text(&answer, pointer)).flatten().map(Arc::from)
        }))
    }

    /// 3.x keeps both spellings of traces in one table; 2.22 has the older route alone.
    async fn trace(&self, id: &str) -> Result<Option<Value>, MlflowError> {
        let newer = format!("/api/3.0/mlflow/traces/{id}");
        let (answer, info, own_id) = match self.question.get_if_routed(&newer).await? {
            Some(answer) => (answer, "/trace/trace_info", "/trace_id"),
            None => (
                self.question.get(&format!("/api/2.0/mlflow/traces/{id}/info")).await?,
                "/trace_info",
                "/request_id",
            ),
        };
        Ok(answer
            .and_then(|mut answer| answer.pointer_mut(info).map(Value::take))
            .filter(|info| text(info, own_id) == Some(id)))
    }

    async fn parent_of_trace(&self, id: &str) -> Result<Option<Arc<str>>, MlflowError> {
        let Some(info) = self.trace(id).await? else {
            return Ok(None);
        };
        if let Some(maker) = maker_in(&info) {
            self.makers.learn(id.to_owned(), maker);
        }
        let newer = text(&info, "/trace_location/mlflow_experiment/experiment_id");
        Ok(newer.or_else(|| text(&info, "/experiment_id")).map(Arc::from))
    }

    /// Who made a trace, as MLflow has it; `None` where it has none, or no such trace.
    pub(super) async fn maker_of_trace(&self, id: &str) -> Result<Option<Arc<str>>, MlflowError> {
        let ask = async { Ok(self.trace(id).await?.as_ref().and_then(maker_in)) };
        self.makers.get_or_ask(&id.to_owned(), ask).await
    }

    /// A trace's tags as they are now; none where there is no such trace.
    pub async fn tags_of_trace(&self, id: &str) -> Result<Vec<(String, String)>, MlflowError> {
        if !is_plain_id(id) {
            return Ok(Vec::new());
        }
        let info = self.trace(id).await?;
        Ok(info.as_ref().map(|info| pairs_in(info.get("tags"))).unwrap_or_default())
    }

    /// The experiments that an evaluation dataset is linked to; empty where there is none or no such dataset.
    pub async fn experiments_of_dataset(&self, id: &str) -> Result<Vec<Arc<ExperimentRef>>, MlflowError> {
        if !is_plain_id(id) {
            return Ok(Vec::new());
        }
        let ask = async {
            let target = format!("/api/3.0/mlflow/datasets/{id}/experiment-ids");
            let answer = self.question.get(&target).await?;
            let ids: Arc<[String]> = answer
                .as_ref()
                .and_then(|answer| answer.get("experiment_ids")?.as_array())
                .map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default();
            Ok((!ids.is_empty()).then_some(ids))
        };
        let ids = self.datasets.get_or_ask(&id.to_owned(), ask).await?;
        let found = self.experiments(ids.as_deref().unwrap_or_default()).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Asks for many at once, before they are wanted one by one.
    pub(super) async fn learn_datasets(&self, ids: &[String]) -> Result<(), MlflowError> {
        for some in ids.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|id| self.experiments_of_dataset(id))).await?;
        }
        Ok(())
    }

    /// The parents of several, in their order.
    pub async fn experiments_of(
        &self,
        child: Child,
        ids: &[String],
    ) -> Result<Vec<Option<Arc<ExperimentRef>>>, MlflowError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            found.extend(try_join_all(some.iter().map(|id| self.experiment_of(child, id))).await?);
        }
        Ok(found)
    }

    /// From an answer that passes by.
    pub(super) fn learn_experiment(&self, found: &ExperimentRef) {
        self.experiments.learn(found.id.clone(), Arc::new(found.clone()));
    }

    /// From an answer that passes by.
    pub(super) fn learn_model(&self, found: &ModelRef) {
        self.models.learn(found.name.clone(), Arc::new(found.clone()));
    }

    /// From an answer that passes by: a child keeps its parent for as long as it lives.
    pub(super) fn learn_child(&self, child: Child, id: &str, parent: &str) {
        self.children.learn((child, id.to_owned()), parent.into());
    }

    pub async fn model(&self, name: &str) -> Result<Option<Arc<ModelRef>>, MlflowError> {
        let ask = async {
            let target = query("/api/2.0/mlflow/registered-models/get", &[("name", name)]);
            let found = self.question.get(&target).await?;
            Ok(found
                .as_ref()
                .and_then(|answer| model_in(answer.get("registered_model")?))
                .filter(|found| found.name == name)
                .map(Arc::new))
        };
        self.models.get_or_ask(&name.to_owned(), ask).await
    }

    /// The run that a version says it came from; `None` where there is no such version or it names none.
    pub async fn model_version_run(&self, name: &str, version: &str) -> Result<Option<String>, MlflowError> {
        let target = query(
            "/api/2.0/mlflow/model-versions/get",
            &[("name", name), ("version", version)],
        );
        let answer = self.question.get(&target).await?;
        Ok(answer
            .as_ref()
            .and_then(|answer| text(answer, "/model_version/run_id"))
            .filter(|run| !run.is_empty())
            .map(str::to_owned))
    }

    /// Where a run's artifacts are: the prefix that its own files have.
    pub async fn run_artifact_uri(&self, run_id: &str) -> Result<Option<String>, MlflowError> {
        if !is_plain_id(run_id) {
            return Ok(None);
        }
        let target = query("/api/2.0/mlflow/runs/get", &[("run_id", run_id)]);
        let answer = self.question.get(&target).await?;
        Ok(answer
            .as_ref()
            .and_then(|answer| text(answer, "/run/info/artifact_uri"))
            .map(str::to_owned))
    }

    /// `(id, name)` of a gateway secret, endpoint or model definition; `None` for any other kind.
    pub async fn gateway_object(&self, kind: Kind, id: &str) -> Result<Option<(String, String)>, MlflowError> {
        let (path, parameter, object, name) = match kind {
            Kind::GatewaySecret => ("secrets", "secret_id", "secret", "secret_name"),
            Kind::GatewayEndpoint => ("endpoints", "endpoint_id", "endpoint", "name"),
            Kind::GatewayModelDefinition => ("model-definitions", "model_definition_id", "model_definition", "name"),
            _ => return Ok(None),
        };
        if !is_plain_id(id) {
            return Ok(None);
        }
        let ask = async {
            let target = query(&format!("/api/3.0/mlflow/gateway/{path}/get"), &[(parameter, id)]);
            let found = self.question.get(&target).await?;
            Ok(found.and_then(|answer| {
                let object = answer.get(object)?;
                (object.get(parameter)?.as_str()? == id).then_some(())?;
                object.get(name)?.as_str().map(Arc::from)
            }))
        };
        let found = self.gateway.get_or_ask(&(kind, id.to_owned()), ask).await?;
        Ok(found.map(|name: Arc<str>| (id.to_owned(), name.to_string())))
    }

    /// `(id, name)` of a gateway endpoint.
    pub async fn gateway_endpoint_named(&self, name: &str) -> Result<Option<(String, String)>, MlflowError> {
        let target = query("/api/3.0/mlflow/gateway/endpoints/get", &[("name", name)]);
        // Scorers are older than endpoints.
        let answer = self.question.get_if_routed(&target).await?.flatten();
        Ok(answer.and_then(|answer| {
            let id = text(&answer, "/endpoint/endpoint_id")?;
            (text(&answer, "/endpoint/name")? == name).then(|| (id.to_owned(), name.to_owned()))
        }))
    }

    /// Whether a model or prompt of this name may be seen, asking the upstream which it is only where that matters.
    pub(super) async fn may_read_model(&self, name: &str, view: &View<'_>) -> Result<bool, MlflowError> {
        if view.reads_by_name(name) {
            return Ok(true);
        }
        // Where its name opens it to neither, it may still be their own.
        let found = self.model(name).await?;
        Ok(found.is_some_and(|model| view.reads(model.resource())))
    }

    /// Asks for many at once, before they are wanted one by one.
    pub(super) async fn learn_models(&self, names: &BTreeSet<&str>, view: &View<'_>) -> Result<(), MlflowError> {
        let unknown = |name: &&&str| !view.reads_by_name(name) && self.models.get(&(**name).to_owned()).is_none();
        if names.iter().filter(unknown).count() <= FEW_MODELS {
            return Ok(());
        }
        // Without a filter, MLflow leaves prompts out.
        for filter in ["", "tags.`mlflow.prompt.is_prompt` = 'true'"] {
            let mut token = String::new();
            for _ in 0..PAGES {
                let target = query(
                    "/api/2.0/mlflow/registered-models/search",
                    &[("max_results", "1000"), ("filter", filter), ("page_token", &token)],
                );
                let page = self.question.get(&target).await?.unwrap_or_default();
                let models = page.get("registered_models").and_then(Value::as_array);
                for found in models.into_iter().flatten().filter_map(model_in) {
                    self.learn_model(&found);
                }
                match text(&page, "/next_page_token") {
                    Some(next) if !next.is_empty() => token = next.to_owned(),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    async fn learn_all_experiments(&self, ids: &[String]) -> Result<(), MlflowError> {
        let mut token = None;
        for _ in 0..PAGES {
            let mut body = serde_json::json!({ "max_results": PAGE, "view_type": "ALL" });
            if let Some(token) = token {
                body["page_token"] = Value::String(token);
            }
            let mut page = self.question.post("/api/2.0/mlflow/experiments/search", &body).await?;
            for found in page
                .get("experiments")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(experiment_in)
            {
                self.experiments.learn(found.id.clone(), Arc::new(found));
            }
            token = match page.get_mut("next_page_token").map(Value::take) {
                Some(Value::String(token)) if !token.is_empty() => Some(token),
                _ => return Ok(()),
            };
            if ids.iter().all(|id| self.experiments.get(id).is_some()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hits and misses of each cache since the start.
    pub fn counts(&self) -> [(&'static str, (u64, u64)); 4] {
        [
            ("child", self.children.counts()),
            ("experiment", self.experiments.counts()),
            ("model", self.models.counts()),
            ("gateway", self.gateway.counts()),
        ]
    }

    /// A rename, delete or restore passed by.
    pub fn forget_experiment(&self, id: Option<&str>) {
        if let Some(id) = id {
            self.experiments.forget(&id.to_owned());
        }
        self.index.outdate(id);
    }

    /// A rename, delete or tag passed by.
    pub fn forget_model(&self, name: &str) {
        self.models.forget(&name.to_owned());
    }

    /// Links of datasets to experiments changed.
    pub fn forget_datasets(&self) {
        self.datasets.clear();
    }

    /// An update or delete of a gateway object passed by.
    pub fn forget_gateway_object(&self, kind: Kind, id: &str) {
        self.gateway.forget(&(kind, id.to_owned()));
    }
}

fn maker_in(info: &Value) -> Option<Arc<str>> {
    ["tags", "trace_metadata", "request_metadata"]
        .into_iter()
        .flat_map(|place| pairs_in(info.get(place)))
        .find(|(key, _)| key == attribution::USER)
        .map(|(_, maker)| maker.into())
}
