//! Scorers as MLflow keeps them, asked anew each time: their next version may call another model.

use super::question::{query, text};
use super::{Lookup, is_experiment_id};
use crate::mlflow::MlflowError;

impl Lookup {
    /// How a kept scorer is described, in its latest version where none is named; `None` where there is no such scorer.
    pub async fn scorer(
        &self,
        experiment: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<String>, MlflowError> {
        if !is_experiment_id(experiment) {
            return Ok(None);
        }
        let version = version.map(|version| version.to_string());
        let mut pairs = vec![("experiment_id", experiment), ("name", name)];
        pairs.extend(version.as_deref().map(|version| ("version", version)));
        let target = query("/api/3.0/mlflow/scorers/get", &pairs);
        let answer = self.question.get(&target).await?;
        Ok(answer
            .as_ref()
            .and_then(|answer| text(answer, "/scorer/serialized_scorer"))
            .map(str::to_owned))
    }
}
