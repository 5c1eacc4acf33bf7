//! Experiments and models as MLflow's answers describe them, as far as decisions need it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Kind, Marks, Resource};
use crate::mlflow::marks;

/// An experiment, as far as decisions need it. Read from any answer of MLflow's that describes one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "DescribedExperiment")]
pub struct ExperimentRef {
    pub id: String,
    pub name: String,
    pub marks: Option<Arc<Marks>>,
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

impl From<DescribedExperiment> for ExperimentRef {
    fn from(experiment: DescribedExperiment) -> Self {
        Self {
            marks: marks_in(&experiment.tags),
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
