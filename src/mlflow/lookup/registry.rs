//! What moves in the model registry: aliases and stages, asked anew each time.

use serde_json::Value;

use super::question::{query, text};
use super::{Lookup, ModelRef, model_in};
use crate::mlflow::MlflowError;

/// A model with its aliases, and the stages of its versions.
#[derive(Debug)]
pub struct Registered {
    pub model: ModelRef,
    pub aliases: Vec<String>,
    pub stages: Vec<String>,
}

impl Lookup {
    /// The stage that a version is in; `None` where there is no such version.
    pub async fn stage_of(&self, name: &str, version: &str) -> Result<Option<String>, MlflowError> {
        let target = query(
            "/api/2.0/mlflow/model-versions/get",
            &[("name", name), ("version", version)],
        );
        let answer = self.question.get(&target).await?;
        Ok(answer
            .as_ref()
            .and_then(|answer| text(answer, "/model_version/current_stage"))
            .map(str::to_owned))
    }

    /// A model as it is now; `None` where there is none of this name.
    pub async fn registered(&self, name: &str) -> Result<Option<Registered>, MlflowError> {
        let target = query("/api/2.0/mlflow/registered-models/get", &[("name", name)]);
        let answer = self.question.get(&target).await?;
        let Some(found) = answer.as_ref().and_then(|answer| answer.get("registered_model")) else {
            return Ok(None);
        };
        let each = |list: &str, field: &str| {
            let items = found.get(list).and_then(Value::as_array).into_iter().flatten();
            items
                .filter_map(|item| item.get(field)?.as_str().map(str::to_owned))
                .collect()
        };
        Ok(model_in(found)
            .filter(|model| model.name == name)
            .map(|model| Registered {
                model,
                aliases: each("aliases", "alias"),
                // The latest version of each stage.
                stages: each("latest_versions", "current_stage"),
            }))
    }
}
