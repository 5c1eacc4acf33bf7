//! Searches within named experiments or runs: those that may not be seen are left out of the request before it is sent.

use std::collections::HashSet;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::row::{answer_of, rows_of};
use super::{Cut, Parameters, View, ask, empty};
use crate::mlflow::lookup::{Child, ExperimentRef, Lookup};
use crate::mlflow::routes::List;
use crate::mlflow::{MlflowError, Outgoing};
use crate::outbound::UpstreamClient;

/// Experiments that one search may name.
pub(in crate::mlflow) const MOST: usize = 10_000;

/// Runs or traces that one question may name: each costs a look-up when it is new, where experiments can be asked for at once.
const CHILDREN: usize = 1000;

/// A row's experiment, as far as it says one.
trait Placed {
    /// Or what else the request was thinned out by.
    fn experiment_id(&self) -> Option<&str>;

    /// What it is, for the look-ups to remember whose it is.
    fn own_id(&self) -> Option<(Child, &str)> {
        None
    }
}

#[derive(Deserialize)]
struct WithInfo {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    experiment_id: String,
    run_id: Option<String>,
    model_id: Option<String>,
}

#[derive(Deserialize)]
struct Flat {
    experiment_id: String,
}

#[derive(Deserialize)]
struct Located {
    trace_id: Option<String>,
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

    fn own_id(&self) -> Option<(Child, &str)> {
        let run = self.info.run_id.as_deref().map(|id| (Child::Run, id));
        run.or_else(|| Some((Child::LoggedModel, self.info.model_id.as_deref()?)))
    }
}

/// A row that says its run alone: what it is held to is the run.
#[derive(Deserialize)]
struct OfRun {
    run_id: String,
}

impl Placed for OfRun {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.run_id)
    }
}

/// Likewise its trace.
#[derive(Deserialize)]
struct OfTrace {
    trace_id: String,
}

impl Placed for OfTrace {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.trace_id)
    }
}

#[derive(Deserialize)]
struct WithTraceInfo {
    trace_info: OfTrace,
}

impl Placed for WithTraceInfo {
    fn experiment_id(&self) -> Option<&str> {
        Some(&self.trace_info.trace_id)
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

    fn own_id(&self) -> Option<(Child, &str)> {
        Some((Child::Trace, self.trace_id.as_deref()?))
    }
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
    let fields = Parameters::of(request)?;
    let scope = match list {
        List::TracesV3 => "locations",
        List::MetricHistory => "run_id",
        List::MetricHistoryInterval => "run_ids",
        List::Traces | List::TraceInfos => "trace_ids",
        _ => "experiment_ids",
    };
    let asked: Vec<(String, Value)> = match list {
        // Places that are no experiment are nobody's to name but those who see everything.
        List::TracesV3 => fields
            .values(scope)?
            .into_iter()
            .filter_map(|location| Some((experiment_of(&location)?, location)))
            .collect(),
        _ => fields
            .texts(scope)?
            .into_iter()
            .map(|id| (id.clone(), Value::String(id)))
            .collect(),
    };
    let child = match list {
        List::MetricHistory | List::MetricHistoryInterval => Some(Child::Run),
        List::Traces | List::TraceInfos => Some(Child::Trace),
        _ => None,
    };
    // Who names no run or trace is told so by MLflow; who names no experiment finds nothing.
    if child.is_some() && asked.is_empty() {
        return Ok(Cut::Forward(request.clone()));
    }
    let ids: Vec<String> = asked.iter().map(|(id, _)| id.clone()).collect();
    let allowed = match child {
        Some(child) => readable_children(lookup, child, &ids, view).await?,
        None => readable(lookup, &ids, view).await?,
    };
    let kept: Vec<Value> = asked
        .into_iter()
        .filter(|(id, _)| allowed.contains(id))
        .map(|(_, value)| value)
        .collect();
    if kept.is_empty() {
        return Ok(match list {
            List::MetricHistory => Cut::Answer(StatusCode::OK, Bytes::from_static(b"{\"metrics\":[]}")),
            _ => empty(),
        });
    }
    let (status, body) = ask(client, fields.with(scope, kept, true).request()).await?;
    if status != StatusCode::OK {
        return Ok(Cut::Answer(status, body));
    }
    let learn = |child, id: &str, parent: &str| lookup.learn_child(child, id, parent);
    match list {
        List::Runs => checked::<WithInfo>(body, "runs", &allowed, learn),
        List::LoggedModels => checked::<WithInfo>(body, "models", &allowed, learn),
        List::TracesV2 => checked::<Flat>(body, "traces", &allowed, learn),
        List::TracesV3 => checked::<Located>(body, "traces", &allowed, learn),
        List::Inputs => checked::<Flat>(body, "dataset_summaries", &allowed, learn),
        List::Traces => checked::<WithTraceInfo>(body, "traces", &allowed, learn),
        List::TraceInfos => checked::<OfTrace>(body, "trace_infos", &allowed, learn),
        List::MetricHistory | List::MetricHistoryInterval => checked::<OfRun>(body, "metrics", &allowed, learn),
        _ => Err(MlflowError::Upstream("this list names no experiments".into())),
    }
}

/// Those of the experiments that may be read; unknown ones are none of them.
pub(in crate::mlflow) async fn readable(
    lookup: &Lookup,
    ids: &[String],
    view: &View<'_>,
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
        .filter(|experiment| view.reads(experiment.resource()))
        .map(|experiment| experiment.id.clone())
        .collect())
}

/// Those of the runs or traces whose experiment may be read.
pub(in crate::mlflow) async fn readable_children(
    lookup: &Lookup,
    child: Child,
    ids: &[String],
    view: &View<'_>,
) -> Result<HashSet<String>, MlflowError> {
    if ids.len() > CHILDREN {
        return Err(MlflowError::Malformed(format!(
            "a question may name {CHILDREN} runs or traces at most"
        )));
    }
    let found = lookup.experiments_of(child, ids).await?;
    let reads = |experiment: Option<std::sync::Arc<ExperimentRef>>| {
        experiment.is_some_and(|experiment| view.reads(experiment.resource()))
    };
    Ok(ids
        .iter()
        .zip(found)
        .filter(|(_, experiment)| reads(experiment.clone()))
        .map(|(id, _)| id.clone())
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
    body: Bytes,
    field: &str,
    allowed: &HashSet<String>,
    learn: impl Fn(Child, &str, &str),
) -> Result<Cut, MlflowError> {
    let mut page = rows_of::<T>(&body, field)?;
    let count = page.rows.len();
    page.rows
        .retain(|row| row.read.experiment_id().is_some_and(|id| allowed.contains(id)));
    for row in &page.rows {
        if let (Some((child, id)), Some(parent)) = (row.read.own_id(), row.read.experiment_id()) {
            learn(child, id, parent);
        }
    }
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
        let Cut::Answer(_, body) = checked::<WithInfo>(clean.clone(), "runs", &allowed, |_, _, _| {}).unwrap() else {
            panic!("an answer");
        };
        assert_eq!(body, clean);
        let mixed =
            br#"{"runs":[{"info":{"experiment_id":"2"}},{"info":{"experiment_id":"1"}}],"next_page_token":"t"}"#;
        let Cut::Answer(_, body) =
            checked::<WithInfo>(bytes::Bytes::from_static(mixed), "runs", &allowed, |_, _, _| {}).unwrap()
        else {
            panic!("an answer");
        };
        assert_eq!(
            body,
            r#"{"runs":[{"info":{"experiment_id":"1"}}],"next_page_token":"t"}"#
        );
    }
}
