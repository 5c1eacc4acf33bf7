//! A look into the trail: the newest events of this replica's live file.

use actix_web::HttpResponse;
use askama::Template;

use crate::audit::{self, Record, Wanted, printable};
use crate::web::words::Fill;

use super::{Choice, Entered, Entry, Site, TRAIL, choices, typed};

/// Events of one page.
const MOST: usize = 100;
/// How far back a page looks. Bytes.
const REACH: u64 = 8 << 20;

pub(super) async fn show(admin: Entered) -> HttpResponse {
    let query = admin.here.query();
    let text = |name: &str| typed(&query, name).map(str::to_owned);
    let looked_for = LookedFor {
        user: text("user"),
        action: text("action"),
        resource: text("resource"),
        outcome: text("outcome"),
    };
    let say = admin.say();
    let outcomes = [
        ("allowed", say.outcome_allowed),
        ("refused", say.outcome_refused),
        ("failed", say.outcome_failed),
    ];
    let shown = looked_for.clone();
    let found = newest(&admin, looked_for, MOST).await;
    let status = if found.is_some() { 200 } else { 503 };
    let page = TrailPage {
        site: admin.here.pages().site(),
        menu: admin.menu(TRAIL),
        action: admin.path(TRAIL),
        outcomes: choices(outcomes.map(|(value, _)| value.to_owned()), shown.outcome.as_deref())
            .into_iter()
            .zip(outcomes)
            .map(|(choice, (_, label))| Choice {
                label: label.to_owned(),
                ..choice
            })
            .collect(),
        looked_for: shown,
        found,
    };
    admin.page(status, page)
}

/// `None` where the trail cannot be read.
pub(super) async fn newest(admin: &Entered, looked_for: LookedFor, most: usize) -> Option<Found> {
    let file = admin.here.front().config.audit.file.clone();
    let read = tokio::task::spawn_blocking(move || {
        let wanted = Wanted {
            user: looked_for.user.as_deref(),
            action: looked_for.action.as_deref(),
            resource: looked_for.resource.as_deref(),
            outcome: looked_for.outcome.as_deref(),
            ..Wanted::default()
        };
        audit::newest(&file, &wanted, most, REACH)
    });
    match read.await {
        Ok(Ok(found)) => Some(Found {
            rows: found.records.iter().map(|record| Row::new(admin, record)).collect(),
            is_partial: found.is_partial,
        }),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the trail cannot be read");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the trail cannot be read");
            None
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct LookedFor {
    pub(super) user: Option<String>,
    pub(super) action: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) outcome: Option<String>,
}

impl LookedFor {
    /// For the fields of the form.
    fn text(text: &Option<String>) -> &str {
        text.as_deref().unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    is_partial: bool,
}

/// One event.
pub(super) struct Row {
    pub(super) time: String,
    pub(super) user: String,
    pub(super) action: String,
    pub(super) resources: String,
    pub(super) outcome: &'static str,
    pub(super) is_bad: bool,
    /// In English.
    pub(super) reason: String,
}

impl Row {
    fn new(admin: &Entered, record: &Record) -> Self {
        let say = admin.say();
        let resources = record.resources.iter().map(|touched| {
            let what = touched.name.as_deref().or(touched.id.as_deref()).unwrap_or("*");
            printable(&format!("{}:{what}", touched.kind))
        });
        let second = record.time.get(..19).unwrap_or_default().replace('T', " ");
        Self {
            time: second,
            user: printable(record.actor.user.as_deref().unwrap_or("–")),
            action: record.action.clone(),
            resources: resources.collect::<Vec<_>>().join(", "),
            outcome: match record.outcome {
                audit::Outcome::Allowed => say.outcome_allowed,
                audit::Outcome::Refused => say.outcome_refused,
                audit::Outcome::Failed => say.outcome_failed,
            },
            is_bad: record.outcome != audit::Outcome::Allowed,
            reason: printable(&record.reason.text),
        }
    }
}

#[derive(Template)]
#[template(path = "admin_trail.html")]
struct TrailPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    action: String,
    looked_for: LookedFor,
    outcomes: Vec<Choice>,
    found: Option<Found>,
}
