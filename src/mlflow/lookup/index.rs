//! All experiments of an upstream by name, kept up to date by asking for what changed. From it a list can be asked for so
//! that MLflow finds little else than what its caller may see. Whether they may see a row, the row itself decides.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ExperimentRef;
use super::question::{Question, query};
use crate::domain::{Clock, Timestamp};
use crate::mlflow::MlflowError;

/// How long something that was made elsewhere may be missing from a list.
const FRESH: Duration = Duration::from_secs(5);

/// What no time of change tells (tags, purged experiments) is seen when all are asked for again.
const WHOLE: Duration = Duration::from_secs(600);

/// After a failure, lists do without.
const PAUSE: Duration = Duration::from_secs(30);

/// What changed while it was asked for the last time, and MLflow servers whose clocks differ. Milliseconds.
const OVERLAP: i64 = 10_000;

/// Experiments that are asked for again one by one.
const TOUCHED: usize = 20;

/// Experiments in one page, and pages at most: past them there is no index.
const PAGE: usize = 1000;
const PAGES: usize = 100;

/// All experiments, as they were a moment ago.
#[derive(Debug, Default)]
pub(in crate::mlflow) struct Census {
    /// Another one for each change.
    pub(in crate::mlflow) generation: u64,
    pub(in crate::mlflow) experiments: Vec<Arc<Entry>>,
}

/// One of them, with what MLflow goes by when it lists them: milliseconds, where it knows them.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mlflow) struct Entry {
    pub(in crate::mlflow) experiment: ExperimentRef,
    pub(in crate::mlflow) created: Option<i64>,
    pub(in crate::mlflow) updated: Option<i64>,
    pub(in crate::mlflow) active: bool,
}

pub(super) struct Index {
    state: Mutex<State>,
    /// Something was made, renamed or deleted through this gateway.
    stale: AtomicBool,
    /// What it was, as far as it had an id: a new tag moves no time of change.
    touched: std::sync::Mutex<BTreeSet<String>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    /// `None`: there is none now.
    census: Option<Arc<Census>>,
    places: HashMap<String, usize>,
    generation: u64,
    /// The latest change that was seen, in milliseconds of MLflow's clock.
    newest: i64,
    fresh_until: Option<Timestamp>,
    whole_until: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(flatten)]
    experiment: ExperimentRef,
    #[serde(default)]
    creation_time: Value,
    #[serde(default)]
    last_update_time: Value,
    #[serde(default)]
    lifecycle_stage: Value,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            experiment: row.experiment,
            created: row.creation_time.as_i64(),
            updated: row.last_update_time.as_i64(),
            active: row.lifecycle_stage != "deleted",
        }
    }
}

impl Index {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            stale: AtomicBool::new(false),
            touched: std::sync::Mutex::default(),
            clock,
        }
    }

    pub(super) fn outdate(&self, id: Option<&str>) {
        if let Some(id) = id {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.insert(id.to_owned());
        }
        self.stale.store(true, Ordering::Release);
    }

    /// `None` where there are too many, or MLflow cannot be asked so.
    pub(super) async fn census(&self, question: &Question) -> Option<Arc<Census>> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let stale = self.stale.swap(false, Ordering::AcqRel) && state.census.is_some();
        if !stale && state.fresh_until.is_some_and(|until| now < until) {
            return state.census.clone();
        }
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let whole =
            touched.len() > TOUCHED || state.census.is_none() || state.whole_until.is_none_or(|until| now >= until);
        match self.ask(&mut state, question, whole, &touched).await {
            Ok(()) => state.fresh_until = Some(now.plus(FRESH)),
            Err(error) => {
                tracing::debug!(%error, "lists of experiments are read without an index");
                state.census = None;
                state.fresh_until = Some(now.plus(PAUSE));
            }
        }
        if whole {
            state.whole_until = Some(now.plus(WHOLE));
        }
        state.census.clone()
    }

    async fn ask(
        &self,
        state: &mut State,
        question: &Question,
        whole: bool,
        touched: &BTreeSet<String>,
    ) -> Result<(), MlflowError> {
        let mut body = json!({ "max_results": PAGE, "view_type": "ALL" });
        let mut experiments = Vec::new();
        if whole {
            state.places.clear();
        } else {
            body["filter"] = format!("last_update_time >= {}", state.newest.saturating_sub(OVERLAP)).into();
            experiments.extend(
                state
                    .census
                    .iter()
                    .flat_map(|census| census.experiments.iter().cloned()),
            );
        }
        let mut changed = whole;
        let mut again = Vec::new();
        for id in touched.iter().filter(|_| !whole) {
            let target = query("/api/2.0/mlflow/experiments/get", &[("experiment_id", id)]);
            let found = question.get(&target).await?;
            again.extend(found.and_then(|mut found| Row::deserialize(found.get_mut("experiment")?.take()).ok()));
        }
        for _ in 0..PAGES {
            let mut page = question.post("/api/2.0/mlflow/experiments/search", &body).await?;
            let rows = page.get_mut("experiments").map(Value::take).unwrap_or_default();
            let rows: Vec<Row> = match rows {
                Value::Null => Vec::new(),
                rows => serde_json::from_value(rows)
                    .map_err(|_| MlflowError::Upstream("a list of experiments is not what it should be".into()))?,
            };
            for row in again.drain(..).chain(rows) {
                let entry = Entry::from(row);
                state.newest = state.newest.max(entry.updated.unwrap_or_default());
                match state.places.get(&entry.experiment.id) {
                    Some(place) if *experiments[*place] == entry => {}
                    Some(place) => {
                        experiments[*place] = Arc::new(entry);
                        changed = true;
                    }
                    None => {
                        state.places.insert(entry.experiment.id.clone(), experiments.len());
                        experiments.push(Arc::new(entry));
                        changed = true;
                    }
                }
            }
            match page.get_mut("next_page_token").map(Value::take) {
                Some(Value::String(token)) if !token.is_empty() => body["page_token"] = token.into(),
                _ => {
                    if changed {
                        state.generation += 1;
                        state.census = Some(Arc::new(Census {
                            generation: state.generation,
                            experiments,
                        }));
                    }
                    return Ok(());
                }
            }
        }
        Err(MlflowError::Upstream(
            "there are too many experiments for an index".into(),
        ))
    }
}
