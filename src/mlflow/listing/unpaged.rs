//! Lists that MLflow gives whole: rows are filtered out of one answer.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::row::{answer_of, full_answer_of, rows_of};
use super::{Cut, Parameters, View, ask, empty, readable};
use crate::domain::{Kind, Resource};
use crate::mlflow::lookup::Lookup;
use crate::mlflow::routes::List;
use crate::mlflow::{MlflowError, Outgoing, OutgoingBody};
use crate::outbound::UpstreamClient;

#[derive(Deserialize)]
struct Secret {
    secret_id: String,
    secret_name: String,
}

#[derive(Deserialize)]
struct Endpoint {
    endpoint_id: String,
    name: String,
}

#[derive(Deserialize)]
struct ModelDefinition {
    model_definition_id: String,
    name: String,
}

#[derive(Deserialize)]
struct Binding {
    endpoint_id: String,
}

/// As OpenAI's API lists models; the id is an endpoint's name.
#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Deserialize)]
struct Workspace {
    name: String,
}

/// In a scorer's row, its experiment's id is a number.
#[derive(Deserialize)]
struct Scorer {
    experiment_id: serde_json::Value,
    scorer_name: String,
}

#[derive(Deserialize)]
struct OnlineConfig {
    experiment_id: serde_json::Value,
}

#[derive(Deserialize)]
struct Folder {
    path: String,
}

pub(super) async fn cut(
    list: List,
    client: &UpstreamClient,
    lookup: &Lookup,
    request: &Outgoing,
    view: &View<'_>,
) -> Result<Cut, MlflowError> {
    if view.sees_all(list) {
        return Ok(Cut::Forward(request.clone()));
    }
    if list == List::RelayedEndpoints {
        // As MLflow says it where nothing stands behind its relay; nobody is asked.
        let none = Bytes::from_static(br#"{"endpoints":[]}"#);
        return Ok(Cut::Answer(StatusCode::OK, none));
    }
    let (status, body) = ask(client, request.clone()).await?;
    if status != StatusCode::OK {
        // A scorer's experiment that is not there must look like one without scorers that may be seen.
        return Ok(match list {
            List::Scorers if names_a_hidden_experiment(lookup, request, view).await? => empty(),
            _ => Cut::Answer(status, body),
        });
    }
    let one = |kind, id: &str, name: &str| view.reads(Resource::one(kind, id, name));
    let answer = match list {
        List::GatewaySecrets => kept(&body, "secrets", |row: &Secret| {
            one(Kind::GatewaySecret, &row.secret_id, &row.secret_name)
        })?,
        List::GatewayModelDefinitions => kept(&body, "model_definitions", |row: &ModelDefinition| {
            one(Kind::GatewayModelDefinition, &row.model_definition_id, &row.name)
        })?,
        List::GatewayEndpoints => kept(&body, "endpoints", |row: &Endpoint| {
            one(Kind::GatewayEndpoint, &row.endpoint_id, &row.name)
        })?,
        List::GatewayBindings => {
            let endpoints = endpoints(client).await?;
            kept(&body, "bindings", |row: &Binding| {
                let endpoint = endpoints.iter().find(|known| known.endpoint_id == row.endpoint_id);
                endpoint.is_some_and(|known| one(Kind::GatewayEndpoint, &known.endpoint_id, &known.name))
            })?
        }
        List::GatewayModels => {
            let endpoints = endpoints(client).await?;
            let by_name: HashMap<_, _> = endpoints.iter().map(|known| (&known.name, known)).collect();
            let mut page = rows_of::<Model>(&body, "data")?;
            page.rows.retain(|row| {
                let endpoint = by_name.get(&row.read.id);
                endpoint.is_some_and(|known| one(Kind::GatewayEndpoint, &known.endpoint_id, &known.name))
            });
            let rows: Vec<_> = page.rows.iter().map(|row| row.raw.get()).collect();
            Bytes::from(format!("{{\"object\":\"list\",\"data\":[{}]}}", rows.join(",")))
        }
        List::Workspaces => kept(&body, "workspaces", |row: &Workspace| {
            view.reads(Resource::named(Kind::Workspace, row.name.as_str()))
        })?,
        List::Scorers => {
            let page = rows_of::<Scorer>(&body, "scorers")?;
            let experiments = experiments(lookup, page.rows.iter().map(|row| &row.read.experiment_id)).await?;
            kept(&body, "scorers", |row: &Scorer| {
                let id = id_of(&row.experiment_id);
                let scorer = Resource::one(
                    Kind::Scorer,
                    format!("{id}/{}", row.scorer_name),
                    row.scorer_name.as_str(),
                );
                let experiment = experiments.get(&id);
                experiment.is_some_and(|experiment| view.reads_either([scorer, experiment.clone()]))
            })?
        }
        List::OnlineConfigs => {
            let mut page = rows_of::<OnlineConfig>(&body, "configs")?;
            let experiments = experiments(lookup, page.rows.iter().map(|row| &row.read.experiment_id)).await?;
            // A row does not name its scorer: a DENY on any stands against it.
            page.rows.retain(|row| {
                let experiment = experiments.get(&id_of(&row.read.experiment_id));
                let scorer = || Resource::unknown(Kind::Scorer, "");
                experiment.is_some_and(|experiment| view.reads_either([scorer(), experiment.clone()]))
            });
            full_answer_of("configs", &page.rows, None)
        }
        List::ArtifactFolders => {
            let page = rows_of::<Folder>(&body, "files")?;
            let ids: Vec<_> = page.rows.iter().map(|row| row.read.path.clone()).collect();
            let allowed = readable(lookup, &ids, view).await?;
            kept(&body, "files", |row: &Folder| allowed.contains(&row.path))?
        }
        _ => return Err(MlflowError::Upstream("this list has pages".into())),
    };
    Ok(Cut::Answer(StatusCode::OK, answer))
}

/// The answer with the rows that `visible` lets through; the same bytes where it lets all.
fn kept<T: DeserializeOwned>(body: &Bytes, field: &str, visible: impl Fn(&T) -> bool) -> Result<Bytes, MlflowError> {
    let mut page = rows_of::<T>(body, field)?;
    page.rows.retain(|row| visible(&row.read));
    Ok(answer_of(field, &page.rows, None))
}

/// All endpoints, for the names and ids that a row lacks.
async fn endpoints(client: &UpstreamClient) -> Result<Vec<Endpoint>, MlflowError> {
    let request = Outgoing {
        method: Method::GET,
        target: "/api/3.0/mlflow/gateway/endpoints/list".to_owned(),
        body: OutgoingBody::Empty,
    };
    match ask(client, request).await? {
        (StatusCode::OK, body) => {
            let page = rows_of::<Endpoint>(&body, "endpoints")?;
            Ok(page.rows.into_iter().map(|row| row.read).collect())
        }
        (status, _) => Err(MlflowError::Upstream(format!(
            "it answered {} to a list of endpoints",
            status.as_u16()
        ))),
    }
}

fn id_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn experiments(
    lookup: &Lookup,
    ids: impl Iterator<Item = &serde_json::Value>,
) -> Result<HashMap<String, Resource>, MlflowError> {
    let ids: BTreeSet<_> = ids.map(id_of).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let found = lookup.experiments(&ids).await?;
    let resource = |(id, found): (String, Option<_>)| {
        found.map(|experiment: std::sync::Arc<crate::mlflow::lookup::ExperimentRef>| (id, experiment.resource()))
    };
    Ok(ids.into_iter().zip(found).filter_map(resource).collect())
}

async fn names_a_hidden_experiment(lookup: &Lookup, request: &Outgoing, view: &View<'_>) -> Result<bool, MlflowError> {
    let fields = Parameters::of(request)?;
    let mut ids = fields.texts("experiment_ids")?;
    ids.extend(fields.text("experiment_id")?);
    let allowed = readable(lookup, &ids, view).await?;
    Ok(ids.iter().any(|id| !allowed.contains(id)))
}
