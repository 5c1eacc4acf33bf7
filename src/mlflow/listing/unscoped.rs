//! Lists of everything: experiments, models and prompts, versions. Rows are filtered and pages filled up again.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::paging::{Position, fill};
use super::row::{Row, answer_of, rows_of};
use super::{Cut, May, Parameters, ask};
use crate::domain::{Kind, Marks, Permission, Resource};
use crate::mlflow::lookup::{Lookup, is_prompt_tag};
use crate::mlflow::{MlflowError, Outgoing, marks};
use crate::outbound::UpstreamClient;

/// Rows in one of our own questions: what every version of MLflow allows for each of these lists.
const LARGEST_PAGE: usize = 1000;

#[derive(Clone, Debug)]
pub(super) enum List {
    Experiments,
    RegisteredModels,
    ModelVersions(Arc<Lookup>),
}

#[derive(Deserialize)]
struct Experiment {
    experiment_id: String,
    name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Model {
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

#[derive(Deserialize)]
struct Version {
    name: String,
}

fn marks_in(tags: &[Tag]) -> Option<Arc<Marks>> {
    let pairs: Vec<_> = tags.iter().map(|tag| (&tag.key, &tag.value)).collect();
    marks::read(&pairs)
}

/// An upstream's refusal goes to the client as it is.
enum Stopped {
    Refused(StatusCode, Bytes),
}

impl List {
    pub(super) async fn cut(
        &self,
        client: &UpstreamClient,
        request: &Outgoing,
        may: May<'_>,
    ) -> Result<Cut, MlflowError> {
        let fields = Parameters::of(request)?;
        let token = fields.text("page_token")?;
        let every = |kind| may(Permission::Read, &Resource::every(kind));
        let all = match self {
            Self::Experiments => every(Kind::Experiment),
            Self::RegisteredModels | Self::ModelVersions(_) => every(Kind::RegisteredModel) && every(Kind::Prompt),
        };
        // A token of ours, from when less was to be seen, means nothing to MLflow.
        if all && !Position::is_ours(token.as_deref()) {
            return Ok(Cut::Forward(request.clone()));
        }
        match self {
            Self::Experiments => {
                let visible = async |row: &Row<Experiment>| {
                    let experiment = Resource::one(
                        Kind::Experiment,
                        row.read.experiment_id.as_str(),
                        row.read.name.as_str(),
                    )
                    .marked(marks_in(&row.read.tags));
                    Ok(may(Permission::Read, &experiment))
                };
                pages(client, &fields, token, "experiments", (1000, 50_000), visible).await
            }
            Self::RegisteredModels => {
                let visible = async |row: &Row<Model>| {
                    let prompt = row.read.tags.iter().any(|tag| is_prompt_tag(&tag.key, &tag.value));
                    let kind = if prompt { Kind::Prompt } else { Kind::RegisteredModel };
                    let model = Resource::named(kind, row.read.name.as_str()).marked(marks_in(&row.read.tags));
                    Ok(may(Permission::Read, &model))
                };
                pages(client, &fields, token, "registered_models", (100, 1000), visible).await
            }
            Self::ModelVersions(lookup) => {
                let visible = async |row: &Row<Version>| lookup.may_read_model(&row.read.name, may).await;
                pages(client, &fields, token, "model_versions", (10_000, 200_000), visible).await
            }
        }
    }
}

/// `sizes`: a page's default and largest `max_results`.
async fn pages<T: DeserializeOwned>(
    client: &UpstreamClient,
    fields: &Parameters,
    token: Option<String>,
    field: &str,
    sizes: (usize, usize),
    visible: impl AsyncFnMut(&Row<T>) -> Result<bool, MlflowError>,
) -> Result<Cut, MlflowError> {
    let start = Position::parse(token.as_deref(), LARGEST_PAGE)?;
    let want = fields.size("max_results", sizes.0, sizes.1)?;
    let mut stopped = None;
    let fetch = async |token: Option<&str>, size: usize| {
        let page = fields
            .with("page_token", token.map(Into::into).into_iter().collect(), false)
            .with("max_results", vec![size.into()], false);
        let (status, body) = ask(client, page.request()).await?;
        if status != StatusCode::OK {
            stopped = Some(Stopped::Refused(status, body));
            return Err(MlflowError::Upstream(format!(
                "it answered {} to a list",
                status.as_u16()
            )));
        }
        rows_of::<T>(&body, field)
    };
    let filled = fill(start, want, LARGEST_PAGE, fetch, visible).await;
    if let Some(Stopped::Refused(status, body)) = stopped {
        return Ok(Cut::Answer(status, body));
    }
    let filled = filled?;
    let next = filled.next.map(|next| next.to_token());
    Ok(Cut::Answer(
        StatusCode::OK,
        answer_of(field, &filled.rows, next.as_deref()),
    ))
}
