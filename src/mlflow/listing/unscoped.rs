//! Lists of everything in pages: experiments, models and prompts, versions, datasets, issues, the catalogs. Rows are filtered
//! and pages filled up again.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::by_ids::{self, MOST, Order};
use super::paging::{BYTES, Position, Weigh as _, fill};
use super::row::{Row, answer_of, full_answer_of, rows_of};
use super::within::{Seen, clause_of, joined};
use super::{Cut, Parameters, View, ask, empty, readable, token};
use crate::domain::{Kind, Resource};
use crate::mlflow::lookup::{Census, ExperimentRef, Lookup, ModelRef};
use crate::mlflow::resolve::skill_name;
use crate::mlflow::routes::List;
use crate::mlflow::{MlflowError, Outgoing};
use crate::outbound::UpstreamClient;

/// Rows in one of our own questions: what every version of MLflow allows for each of these lists.
const LARGEST_PAGE: usize = 1000;

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Placed {
    experiment_id: String,
}

#[derive(Deserialize)]
struct Dataset {
    dataset_id: String,
}

#[derive(Deserialize)]
struct McpEndpoint {
    server_name: String,
}

#[derive(Deserialize)]
struct Skill {
    name: String,
    #[serde(default)]
    organization: String,
}

/// How MLflow's route writes its pages.
#[derive(Clone, Copy)]
struct Shape {
    /// The answer's rows.
    field: &'static str,
    /// A page's rows where none are asked for, and at most.
    sizes: (usize, usize),
    /// FastAPI writes what is empty too.
    full: bool,
}

const fn protobuf(field: &'static str, default: usize, most: usize) -> Shape {
    Shape {
        field,
        sizes: (default, most),
        full: false,
    }
}

const fn fastapi(field: &'static str) -> Shape {
    Shape {
        field,
        sizes: (100, 1000),
        full: true,
    }
}

/// One caller's question.
struct Asked<'a> {
    client: &'a UpstreamClient,
    view: &'a View<'a>,
    /// As it came: what a page token is bound to.
    question: String,
    start: Position,
    /// As it is sent, but for the page.
    fields: Parameters,
    /// How many of the rows that it finds are likely visible.
    share: f64,
}

pub(super) async fn cut(
    list: List,
    with_ids: bool,
    client: &UpstreamClient,
    lookup: &Lookup,
    request: &Outgoing,
    view: &View<'_>,
) -> Result<Cut, MlflowError> {
    let fields = Parameters::of(request)?;
    let token = fields.text("page_token")?;
    // A token of ours, from when less was to be seen, means nothing to MLflow.
    if view.sees_all(list) && !token::is_ours(token.as_deref()) {
        return Ok(Cut::Forward(request.clone()));
    }
    let question = fields.question();
    let mut asked = Asked {
        client,
        view,
        start: token::open(view, &question, token.as_deref())?,
        question,
        share: 1.0,
        fields,
    };
    let nothing_first = async |_: &[Row<_>]| Ok(());
    match list {
        List::Experiments => {
            if let Some(census) = lookup.census().await {
                let seen = lookup.seen(&census, view);
                if seen.nothing() {
                    return Ok(empty());
                }
                if with_ids && let Some(page) = asked.by_ids(&seen, &census, lookup).await? {
                    return Ok(page);
                }
                asked.narrow(&seen, with_ids)?;
            }
            // Without the index, a walk that it began is gone on with by counting.
            let mut skipped = if asked.start.by_id { asked.start.skip } else { 0 };
            if asked.start.by_id {
                asked.start = Position::default();
            }
            let visible = async |row: &Row<ExperimentRef>| {
                lookup.learn_experiment(&row.read);
                let shown = view.reads(row.read.resource());
                let before = shown && skipped > 0;
                skipped -= usize::from(before);
                Ok(shown && !before)
            };
            asked
                .pages(protobuf("experiments", 1000, 50_000), nothing_first, visible)
                .await
        }
        List::RegisteredModels => {
            let visible = async |row: &Row<ModelRef>| {
                lookup.learn_model(&row.read);
                Ok(view.reads(row.read.resource()))
            };
            let shape = protobuf("registered_models", 100, 1000);
            asked.pages(shape, async |_: &[Row<ModelRef>]| Ok(()), visible).await
        }
        List::ModelVersions => {
            let visible = async |row: &Row<Named>| lookup.may_read_model(&row.read.name, view).await;
            let shape = protobuf("model_versions", 10_000, 200_000);
            let first = async |rows: &[Row<Named>]| {
                let names: BTreeSet<_> = rows.iter().map(|row| row.read.name.as_str()).collect();
                lookup.learn_models(&names, view).await
            };
            asked.pages(shape, first, visible).await
        }
        List::Datasets => {
            let named = asked.fields.texts("experiment_ids")?;
            if !named.is_empty() {
                let allowed = readable(lookup, &named, view).await?;
                let kept: Vec<_> = named.into_iter().filter(|id| allowed.contains(id)).collect();
                if kept.is_empty() {
                    return Ok(empty());
                }
                let kept = kept.into_iter().map(Into::into).collect();
                asked.fields = asked.fields.with("experiment_ids", kept, true);
            }
            let first = async |rows: &[Row<Dataset>]| {
                let ids: Vec<_> = rows.iter().map(|row| row.read.dataset_id.clone()).collect();
                lookup.learn_datasets(&ids).await
            };
            // Opening one needs READ on all of its experiments.
            let visible = async |row: &Row<Dataset>| {
                let experiments = lookup.experiments_of_dataset(&row.read.dataset_id).await?;
                let all = experiments.iter().all(|experiment| view.reads(experiment.resource()));
                Ok(all && !experiments.is_empty())
            };
            asked.pages(protobuf("datasets", 1000, 50_000), first, visible).await
        }
        List::Issues => {
            // Those of one experiment are all alike, and its access was asked for.
            if asked.fields.text("experiment_id")?.is_some_and(|id| !id.is_empty()) {
                return Ok(Cut::Forward(request.clone()));
            }
            let first = async |rows: &[Row<Placed>]| {
                let ids: BTreeSet<_> = rows.iter().map(|row| row.read.experiment_id.clone()).collect();
                let ids: Vec<_> = ids.into_iter().collect();
                lookup.experiments(&ids).await.map(drop)
            };
            let visible = async |row: &Row<Placed>| {
                let experiment = lookup.experiment(&row.read.experiment_id).await?;
                Ok(experiment.is_some_and(|experiment| view.reads(experiment.resource())))
            };
            asked.pages(protobuf("issues", 100, 50_000), first, visible).await
        }
        List::McpServers => {
            let visible =
                async |row: &Row<Named>| Ok(view.reads(Resource::named(Kind::McpServer, row.read.name.as_str())));
            let shape = fastapi("mcp_servers");
            asked.pages(shape, async |_: &[Row<Named>]| Ok(()), visible).await
        }
        List::McpEndpoints => {
            let visible = async |row: &Row<McpEndpoint>| {
                Ok(view.reads(Resource::named(Kind::McpServer, row.read.server_name.as_str())))
            };
            let shape = fastapi("mcp_access_endpoints");
            asked.pages(shape, async |_: &[Row<McpEndpoint>]| Ok(()), visible).await
        }
        List::Skills => {
            let visible = async |row: &Row<Skill>| {
                let name = skill_name(&row.read.organization, &row.read.name);
                Ok(view.reads(Resource::named(Kind::Skill, name)))
            };
            let shape = fastapi("skills");
            asked.pages(shape, async |_: &[Row<Skill>]| Ok(()), visible).await
        }
        _ => Err(MlflowError::Upstream("this list has no pages".into())),
    }
}

/// An upstream's refusal goes to the client as it is.
struct Refused(StatusCode, Bytes);

impl Asked<'_> {
    /// Joins to the filter what finds little else than visible rows. A page goes on as its walk began: MLflow's tokens
    /// count the rows that the filter found.
    fn narrow(&mut self, seen: &Seen, with_ids: bool) -> Result<(), MlflowError> {
        let filter = self.fields.text("filter")?.unwrap_or_default();
        let want = self.fields.size("max_results", 1000, 50_000)?;
        let is_first = self.start == Position::default();
        let hint = seen.hint(want.saturating_add(1), with_ids);
        if is_first {
            self.start.within = hint.clause.clone();
        }
        self.share = if self.start.within == hint.clause {
            hint.share
        } else {
            1.0
        };
        if let Some(clause) = &self.start.within {
            match joined(&filter, clause) {
                Some(filter) => self.fields = self.fields.with("filter", vec![filter.into()], false),
                None => self.start.within = None,
            }
        }
        Ok(())
    }

    /// A page of known ids, where that costs least; `None` where it has to be asked for otherwise.
    async fn by_ids(&self, seen: &Seen, census: &Census, lookup: &Lookup) -> Result<Option<Cut>, MlflowError> {
        let want = self.fields.size("max_results", 1000, 50_000)?;
        let goes_on = self.start.by_id;
        let begins = self.start == Position::default() && seen.is_best_by_id(want);
        let Some(order) = Order::of(&self.fields)?.filter(|_| goes_on || begins) else {
            return Ok(None);
        };
        let (mut at, mut rows, mut bytes) = (self.start.skip, Vec::new(), 0);
        // What was deleted a moment ago leaves room for those behind it.
        while rows.len() < want && bytes < BYTES {
            let count = (want - rows.len()).min(MOST);
            let Some(ids) = by_ids::ids(seen, census, &order, at, count) else {
                return Ok(None);
            };
            if ids.is_empty() {
                break;
            }
            at += ids.len();
            let page = self
                .fields
                .with("page_token", Vec::new(), false)
                .with("filter", vec![clause_of(ids.iter().copied()).into()], false)
                .with("max_results", vec![ids.len().into()], false);
            let (status, body) = ask(self.client, page.request()).await?;
            if status != StatusCode::OK {
                return Ok(Some(Cut::Answer(status, body)));
            }
            for row in rows_of::<ExperimentRef>(&body, "experiments")?.rows {
                lookup.learn_experiment(&row.read);
                if self.view.reads(row.read.resource()) {
                    bytes += row.bytes();
                    rows.push(row);
                }
            }
        }
        let follows = by_ids::ids(seen, census, &order, at, 1).is_some_and(|ids| !ids.is_empty());
        let next = follows.then(|| Position {
            skip: at,
            by_id: true,
            ..Position::default()
        });
        let next = next.map(|next| token::seal(self.view, &self.question, &next));
        let answer = answer_of("experiments", &rows, next.as_deref());
        Ok(Some(Cut::Answer(StatusCode::OK, answer)))
    }

    /// `first` is shown each of the upstream's pages before `visible` is asked for its rows.
    async fn pages<T: DeserializeOwned>(
        &self,
        shape: Shape,
        first: impl AsyncFn(&[Row<T>]) -> Result<(), MlflowError>,
        visible: impl AsyncFnMut(&Row<T>) -> Result<bool, MlflowError>,
    ) -> Result<Cut, MlflowError> {
        let want = self.fields.size("max_results", shape.sizes.0, shape.sizes.1)?;
        let mut refused = None;
        let fetch = async |token: Option<&str>, size: usize| {
            let page = self
                .fields
                .with("page_token", token.map(Into::into).into_iter().collect(), false)
                .with("max_results", vec![size.into()], false);
            let (status, body) = ask(self.client, page.request()).await?;
            if status != StatusCode::OK {
                refused = Some(Refused(status, body));
                return Err(MlflowError::Upstream(format!(
                    "it answered {} to a list",
                    status.as_u16()
                )));
            }
            let page = rows_of::<T>(&body, shape.field)?;
            first(&page.rows).await?;
            Ok(page)
        };
        let filled = fill(self.start.clone(), want, self.share, LARGEST_PAGE, fetch, visible).await;
        if let Some(Refused(status, body)) = refused {
            return Ok(Cut::Answer(status, body));
        }
        let filled = filled?;
        let next = filled.next.map(|next| token::seal(self.view, &self.question, &next));
        let write = if shape.full { full_answer_of } else { answer_of };
        Ok(Cut::Answer(
            StatusCode::OK,
            write(shape.field, &filled.rows, next.as_deref()),
        ))
    }
}
