//! What MLflow asks models for on a client's word: the judge that a scorer describes, and the model that is to find issues. MLflow asks
//! them with rights of its own, so whoever names an endpoint of its AI gateway, or a secret, must be allowed to use it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::resolve::Resolver;
use super::routes::At;
use super::{MlflowError, fields, tags};
use crate::domain::{Access, Kind, Permission, Resource};

/// The provider in a model's URI that stands for an endpoint (`mlflow/metrics/genai/model_utils.py`).
const GATEWAY: &str = "gateway";

/// The experiment's tag from which MLflow reads when to look for issues, and with which model (`mlflow/genai/discovery/schedule.py`).
/// Keys are compared in lower case.
const SCHEDULE: &str = "mlflow.issuedetection.schedule";

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

impl Resolver<'_> {
    /// Scorers are a kind of their own within an experiment: either grant will do, and either DENY wins.
    pub(super) async fn scorers(
        &self,
        permission: Permission,
        experiments: Vec<String>,
        names: &[String],
    ) -> Result<Vec<Access>, MlflowError> {
        let mut all = Vec::new();
        for name in names {
            let id = format!("{}/{name}", experiments.concat());
            let scorer = Resource::one(Kind::Scorer, id, name.as_str());
            let parents = self.experiments(permission, experiments.clone()).await?;
            all.extend(parents.into_iter().map(|parent| match parent {
                Access::On { permission, resource } => Access::AnyOf {
                    permission,
                    resources: vec![scorer.clone(), resource],
                },
                other => other,
            }));
        }
        Ok(all)
    }

    /// USE on the endpoints that scorers call: those that the request describes, and those that it names of the ones that are kept.
    pub(super) async fn judges(&self, experiment: At, described: At) -> Result<Vec<Access>, MlflowError> {
        let mut endpoints = BTreeSet::new();
        let mut names = Vec::new();
        for text in self.parts.values(described)? {
            let scorer =
                fields::object(text.as_bytes()).map_err(|_| malformed("A scorer is not described in JSON."))?;
            names.push(scorer.get("name").and_then(Value::as_str).map(str::to_owned));
            called(&Value::Object(scorer), &mut endpoints);
        }
        let experiments = self.parts.values(experiment)?;
        let mut all = Vec::new();
        for (name, version) in self.kept(&names) {
            let parents = experiments.clone();
            all.extend(
                self.scorers(Permission::Read, parents, std::slice::from_ref(&name))
                    .await?,
            );
            let kept = self.lookup.scorer(&experiments.concat(), &name, version).await?;
            match kept.as_deref().map(|text| fields::object(text.as_bytes())) {
                Some(Ok(scorer)) => called(&Value::Object(scorer), &mut endpoints),
                // What cannot be read could call any.
                Some(Err(_)) => all.push(Access::on(Permission::Use, Resource::every(Kind::GatewayEndpoint))),
                None => {}
            }
        }
        let endpoints = endpoints.into_iter().collect();
        all.extend(
            self.named_thing(Kind::GatewayEndpoint, Permission::Use, endpoints)
                .await?,
        );
        Ok(all)
    }

    /// The kept scorers that the body names, with their versions. `described`: the names in those that come with it, in their order.
    fn kept(&self, described: &[Option<String>]) -> Vec<(String, Option<u64>)> {
        let Some(body) = self.parts.json else { return Vec::new() };
        if let Some(Value::Array(versions)) = body.get("scorer_versions") {
            let pairs = described.iter().zip(versions);
            let kept = pairs.filter(|(_, version)| !version.is_null());
            return kept
                .filter_map(|(name, version)| Some((name.clone()?, version.as_u64())))
                .collect();
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let version = body.get("scorer_version").and_then(Value::as_u64);
        let name = match self.parts.found.row.action {
            "scorer.invoke" => text("scorer_name"),
            "scorer.set_online_config" => text("name"),
            _ => None,
        };
        name.into_iter().map(|name| (name, version)).collect()
    }

    /// USE on the endpoint and the secret that the body chooses to find issues with.
    pub(super) async fn chosen_model(&self) -> Result<Vec<Access>, MlflowError> {
        match self.parts.json {
            Some(body) => self.chosen(body).await,
            None => Ok(Vec::new()),
        }
    }

    async fn chosen(&self, choice: &Map<String, Value>) -> Result<Vec<Access>, MlflowError> {
        let text = |name: &str| match fields::field(choice, name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Some(_) => Err(MlflowError::Malformed(format!("{name} must be a text."))),
        };
        let (endpoint, provider, model) = (text("endpoint_name")?, text("provider")?, text("model")?);
        let named = match endpoint {
            // MLflow makes `gateway:/model` of these.
            None if provider.is_some_and(|provider| provider.eq_ignore_ascii_case(GATEWAY)) => model,
            endpoint => endpoint,
        };
        let name = |name: String| name.trim_start_matches('/').to_owned();
        let endpoints = named.map(name).into_iter().collect();
        let mut all = self
            .named_thing(Kind::GatewayEndpoint, Permission::Use, endpoints)
            .await?;
        let secrets = text("secret_id")?.into_iter().collect();
        all.extend(self.gateway(Kind::GatewaySecret, Permission::Use, secrets).await?);
        Ok(all)
    }

    /// What an experiment's tags schedule.
    pub(super) async fn scheduled(&self) -> Result<Vec<Access>, MlflowError> {
        let parts = self.parts;
        let mut all = Vec::new();
        for tag in tags::named(parts.found, parts.target, parts.json) {
            let Some(value) = tag.value.filter(|_| tags::is_or_resembles(&tag.key, SCHEDULE)) else {
                continue;
            };
            let schedule =
                fields::object(value.as_bytes()).map_err(|_| malformed("A schedule is not written in JSON."))?;
            if let Some(Value::Object(model)) = schedule.get("model") {
                all.extend(self.chosen(model).await?);
            }
        }
        Ok(all)
    }
}

/// The endpoints in a scorer's description: every text that is the URI of one, wherever it stands.
fn called(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Some((provider, name)) = text.trim().split_once(":/")
                && provider.eq_ignore_ascii_case(GATEWAY)
            {
                found.insert(name.trim_start_matches('/').to_owned());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| called(item, found)),
        Value::Object(items) => items.values().for_each(|item| called(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_found_wherever_a_scorer_names_it() {
        let scorer = json!({
            "name": "gateway",
            "instructions_judge_pydantic_data": {"instructions": "Ask gateway:/none of them", "model": "gateway:/a"},
            "memory_augmented_judge_data": {"base_judge": {"model": "Gateway://b"}, "embedding_model": "openai:/m"},
            "ensemble": [{"third_party_scorer_data": {"model": " gateway:/c/d"}}, null, 1, true],
        });
        let mut found = BTreeSet::new();
        called(&scorer, &mut found);
        assert_eq!(found, ["a", "b", "c/d"].map(str::to_owned).into());
    }
}
