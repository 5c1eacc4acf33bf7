//! Experiments and models as MLflow's answers describe them, as far as decisions need it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Child;
use crate::domain::{Kind, Marks, Resource};
use crate::mlflow::marks;

/// An experiment, as far as decisions need it. Read from any answer of MLflow's that describes one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "DescribedExperiment")]
pub struct ExperimentRef {
    pub id: String,
    pub name: String,
    pub marks: Option<Arc<Marks>>,
    /// Where in MLflow's artifact store its files are, if that is not the folder of its id.
    pub own_folder: Option<Arc<str>>,
}

impl ExperimentRef {
    pub fn resource(&self) -> Resource {
        Resource::one(Kind::Experiment, self.id.as_str(), self.name.as_str()).marked(self.marks.clone())
    }
}

/// A registered model or a prompt: MLflow keeps both in one table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "DescribedModel")]
pub struct ModelRef {
    pub name: String,
    pub prompt: bool,
    pub marks: Option<Arc<Marks>>,
}

/// As MLflow's answers describe it.
#[derive(Deserialize)]
struct DescribedExperiment {
    experiment_id: String,
    name: String,
    #[serde(default)]
    artifact_location: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Likewise.
#[derive(Deserialize)]
struct DescribedModel {
    name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

fn marks_in(tags: &[Tag]) -> Option<Arc<Marks>> {
    let pairs: Vec<_> = tags.iter().map(|tag| (&tag.key, &tag.value)).collect();
    marks::read(&pairs)
}

fn own_folder(location: &str, id: &str) -> Option<Arc<str>> {
    let folder = location.strip_prefix("mlflow-artifacts:/")?.trim_end_matches('/');
    (!folder.is_empty() && !folder.starts_with('/') && folder != id).then(|| folder.into())
}

impl From<DescribedExperiment> for ExperimentRef {
    fn from(experiment: DescribedExperiment) -> Self {
        Self {
            marks: marks_in(&experiment.tags),
            own_folder: own_folder(&experiment.artifact_location, &experiment.experiment_id),
            id: experiment.experiment_id,
            name: experiment.name,
        }
    }
}

impl From<DescribedModel> for ModelRef {
    fn from(model: DescribedModel) -> Self {
        Self {
            prompt: model.tags.iter().any(|tag| is_prompt_tag(&tag.key, &tag.value)),
            marks: marks_in(&model.tags),
            name: model.name,
        }
    }
}

impl ModelRef {
    pub fn kind(&self) -> Kind {
        if self.prompt {
            Kind::Prompt
        } else {
            Kind::RegisteredModel
        }
    }

    pub fn resource(&self) -> Resource {
        Resource::named(self.kind(), self.name.as_str()).marked(self.marks.clone())
    }
}

/// Something new, in the answer that made it. Only what got its id from MLflow: an id of the client's own choice may be
/// that of something else by now.
#[derive(Deserialize)]
pub(in crate::mlflow) struct Made {
    run: Option<WithInfo>,
    model: Option<WithInfo>,
    trace_info: Option<MadeInfo>,
}

#[derive(Deserialize)]
struct WithInfo {
    info: Option<MadeInfo>,
}

#[derive(Deserialize)]
struct MadeInfo {
    run_id: Option<String>,
    model_id: Option<String>,
    request_id: Option<String>,
    experiment_id: String,
}

impl Made {
    /// What it is, its id, and its experiment's.
    pub(in crate::mlflow) fn child(&self) -> Option<(Child, &str, &str)> {
        let (child, info) = match (&self.run, &self.model) {
            (Some(run), _) => (Child::Run, run.info.as_ref()?),
            (None, Some(model)) => (Child::LoggedModel, model.info.as_ref()?),
            (None, None) => (Child::Trace, self.trace_info.as_ref()?),
        };
        let id = match child {
            Child::Run => &info.run_id,
            Child::LoggedModel => &info.model_id,
            _ => &info.request_id,
        };
        Some((child, id.as_deref()?, &info.experiment_id))
    }
}

/// Tags or metadata: a map, or in older versions a list of pairs.
pub(super) fn pairs_in(pairs: Option<&Value>) -> Vec<(String, String)> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match pairs {
        Some(Value::Object(pairs)) => pairs
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), text(Some(value))?)))
            .collect(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .filter_map(|pair| Some((text(pair.get("key"))?, text(pair.get("value"))?)))
            .collect(),
        Some(_) | None => Vec::new(),
    }
}

pub(super) fn experiment_in(experiment: &Value) -> Option<ExperimentRef> {
    ExperimentRef::deserialize(experiment).ok()
}

pub(super) fn model_in(model: &Value) -> Option<ModelRef> {
    ModelRef::deserialize(model).ok()
}

/// The tag that makes a registered model a prompt, as MLflow's store compares it.
pub fn is_prompt_tag(key: &str, value: &str) -> bool {
    key == "mlflow.prompt.is_prompt" && value.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_folder_of_its_own_is_remembered_where_it_is_in_mlflows_store() {
        for (location, expected) in [
            ("mlflow-artifacts:/7", None),
            ("mlflow-artifacts:/", None),
            ("mlflow-artifacts://elsewhere/7", None),
            ("s3://bucket/team", None),
            ("/srv/team", None),
            ("", None),
            ("mlflow-artifacts:/team/x", Some("team/x")),
            ("mlflow-artifacts:/team/x/", Some("team/x")),
        ] {
            assert_eq!(own_folder(location, "7").as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn what_an_answer_made_is_known_by_its_experiment() {
        for (answer, child, id) in [
            (
                json!({ "run": { "info": { "run_id": "r", "run_uuid": "r", "experiment_id": "7" }, "data": {} } }),
                Child::Run,
                "r",
            ),
            (
                json!({ "model": { "info": { "model_id": "m-1", "experiment_id": "7" } } }),
                Child::LoggedModel,
                "m-1",
            ),
            (
                json!({ "trace_info": { "request_id": "tr-1", "experiment_id": "7" } }),
                Child::Trace,
                "tr-1",
            ),
        ] {
            let made: Made = serde_json::from_value(answer).unwrap();
            assert_eq!(made.child(), Some((child, id, "7")));
        }
        for nothing in [
            json!({}),
            json!({ "run": {} }),
            json!({ "trace": { "trace_info": { "trace_id": "t", "experiment_id": "7" } } }),
        ] {
            let made: Made = serde_json::from_value(nothing).unwrap();
            assert_eq!(made.child(), None);
        }
    }
}
