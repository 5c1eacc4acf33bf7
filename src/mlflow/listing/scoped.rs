//! Searches within named experiments: those that may not be seen are left out of the request before it is sent.

use std::collections::HashSet;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::row::{answer_of, rows_of};
use super::{Cut, May, Parameters, ask, empty};
use crate::domain::{Kind, Permission, Resource};
use crate::mlflow::lookup::Lookup;
use crate::mlflow::{MlflowError, Outgoing};
use crate::outbound::UpstreamClient;

/// Experiments that one search may name.
pub(in crate::mlflow) const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Runs,
    LoggedModels,
    TracesV2,
    TracesV3,
}

/// A row's experiment, as far as it says one.
trait Placed {
    fn experiment_id(&self) -> Option<&str>;
}

#[derive(Deserialize)]
struct WithInfo {
    info: Flat,
}

#[derive(Deserialize)]
struct Flat {
    experiment_id: String,
}

#[derive(Deserialize)]
struct Located {
    trace_location: Location,
}

#[derive(Deserialize)]
struct Location {
    mlflow_experiment: Option<Flat>,
}

impl Placed for WithInfo {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.info.experiment_id)
    }
}

impl Placed for Flat {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.experiment_id)
    }
}

impl Placed for Located {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.trace_location.mlflow_experiment.as_ref()?.experiment_id)
    }
}

impl List {
    pub(super) async fn cut(
        self,
        client: &UpstreamClient,
        lookup: &Lookup,
        request: &Outgoing,
        may: May<'_>,
    ) -> Result<Cut, MlflowError> {
        if may(Permission::Read, &Resource::every(Kind::Experiment)) {
            return Ok(Cut::Forward(request.clone()));
        }
        let fields = Parameters::of(request)?;
        let (scope, asked) = match self {
            Self::TracesV3 => {
                let locations = fields.values("locations")?;
                // Places that are no experiment are nobody's to name but those who see everything.
                let placed = locations
                    .into_iter()
                    .filter_map(|location| Some((experiment_of(&location)?, location)));
                ("locations", placed.collect::<Vec<_>>())
            }
            Self::Runs | Self::LoggedModels | Self::TracesV2 => {
                let ids = fields.texts("experiment_ids")?;
                (
                    "experiment_ids",
                    ids.into_iter().map(|id| (id.clone(), Value::String(id))).collect(),
                )
            }
        };
        let ids: Vec<String> = asked.iter().map(|(id, _)| id.clone()).collect();
        let allowed = readable(lookup, &ids, may).await?;
        let kept: Vec<Value> = asked
            .into_iter()
            .filter(|(id, _)| allowed.contains(id))
            .map(|(_, value)| value)
            .collect();
        if kept.is_empty() {
            return Ok(empty());
        }
        let (status, body) = ask(client, fields.with(scope, kept, true).request()).await?;
        if status != StatusCode::OK {
            return Ok(Cut::Answer(status, body));
        }
        match self {
            Self::Runs => checked::<WithInfo>(body, "runs", &allowed),
            Self::LoggedModels => checked::<WithInfo>(body, "models", &allowed),
            Self::TracesV2 => checked::<Flat>(body, "traces", &allowed),
            Self::TracesV3 => checked::<Located>(body, "traces", &allowed),
        }
    }
}

/// Those of the experiments that may be read; unknown ones are none of them.
pub(in crate::mlflow) async fn readable(
    lookup: &Lookup,
    ids: &[String],
    may: May<'_>,
) -> Result<HashSet<String>, MlflowError> {
    if ids.len() > MOST {
        return Err(MlflowError::Malformed(format!(
            "a search may name {MOST} experiments at most"
        )));
    }
    let found = lookup.experiments(ids).await?;
    Ok(found
        .into_iter()
        .flatten()
        .filter(|experiment| may(Permission::Read, &experiment.resource()))
        .map(|experiment| experiment.id.clone())
        .collect())
}

fn experiment_of(location: &Value) -> Option<String> {
    let one_of = |value: &Value, snake: &str, camel: &str| match (value.get(snake), value.get(camel)) {
        (Some(found), None) | (None, Some(found)) => Some(found.clone()),
        _ => None,
    };
    let experiment = one_of(location, "mlflow_experiment", "mlflowExperiment")?;
    let id = one_of(&experiment, "experiment_id", "experimentId")?;
    Some(id.as_str()?.to_owned())
}

/// The upstream was asked for allowed experiments alone; this holds it to that.
fn checked<T: DeserializeOwned + Placed>(
    body: bytes::Bytes,
    field: &str,
    allowed: &HashSet<String>,
) -> Result<Cut, MlflowError> {
    let mut page = rows_of::<T>(&body, field)?;
    let count = page.rows.len();
    page.rows
        .retain(|row| row.read.experiment_id().is_some_and(|id| allowed.contains(id)));
    if page.rows.len() == count {
        return Ok(Cut::Answer(StatusCode::OK, body));
    }
    tracing::warn!(
        field,
        dropped = count - page.rows.len(),
        "MLflow listed what it was not asked for"
    );
    Ok(Cut::Answer(
        StatusCode::OK,
        answer_of(field, &page.rows, page.next.as_deref()),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_location_names_its_experiment_once_or_not_at_all() {
        let named = json!({"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}});
        assert_eq!(experiment_of(&named).as_deref(), Some("1"));
        let camel = json!({"mlflowExperiment": {"experimentId": "1"}});
        assert_eq!(experiment_of(&camel).as_deref(), Some("1"));
        for other in [
            json!({"inference_table": {"full_table_name": "t"}}),
            json!({"mlflow_experiment": {"experiment_id": 1}}),
            json!({"mlflow_experiment": {"experiment_id": "1", "experimentId": "2"}}),
            json!({"mlflow_experiment": {"experiment_id": "1"}, "mlflowExperiment": {"experiment_id": "2"}}),
            json!("1"),
            json!(null),
        ] {
            assert_eq!(experiment_of(&other), None, "{other}");
        }
    }

    #[test]
    fn a_row_of_another_experiment_is_dropped_and_a_clean_answer_untouched() {
        let allowed = HashSet::from(["1".to_owned()]);
        let clean = bytes::Bytes::from_static(b"{ \"runs\": [ {\"info\": {\"experiment_id\": \"1\"}} ] }");
        let Cut::Answer(_, body) = checked::<WithInfo>(clean.clone(), "runs", &allowed).unwrap() else {
            panic!("an answer");
        };
        assert_eq!(body, clean);
        let mixed =
            br#"{"runs":[{"info":{"experiment_id":"2"}},{"info":{"experiment_id":"1"}}],"next_page_token":"t"}"#;
        let Cut::Answer(_, body) = checked::<WithInfo>(bytes::Bytes::from_static(mixed), "runs", &allowed).unwrap()
        else {
            panic!("an answer");
        };
        assert_eq!(
            body,
            r#"{"runs":[{"info":{"experiment_id":"1"}}],"next_page_token":"t"}"#
        );
    }
}
