//! A page of experiments whose ids the index knows beforehand. MLflow is asked for these and nothing else, so the page costs it what
//! it would cost if nothing else were there.

use super::Parameters;
use super::within::Seen;
use crate::mlflow::MlflowError;
use crate::mlflow::lookup::{Census, Entry};

/// Ids in one question: MLflow 3.18 takes some 3,300.
pub(super) const MOST: usize = 1000;

/// In which order a list is asked for, and of which experiments, as far as the index can tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    by: Time,
    descending: bool,
    /// `None`: deleted ones too.
    active: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Created,
    Updated,
}

impl Order {
    /// `None` where MLflow alone knows: a filter, or an order by something else than a time.
    pub(super) fn of(fields: &Parameters) -> Result<Option<Self>, MlflowError> {
        if fields.text("filter")?.is_some_and(|filter| !filter.trim().is_empty()) {
            return Ok(None);
        }
        let active = match fields.text("view_type")?.as_deref() {
            None | Some("ACTIVE_ONLY" | "1") => Some(true),
            Some("DELETED_ONLY" | "2") => Some(false),
            Some("ALL" | "3") => None,
            Some(_) => return Ok(None),
        };
        let (by, descending) = match &*fields.texts("order_by")? {
            // What MLflow does where nothing is said.
            [] => (Time::Created, true),
            [one] => match one.as_str() {
                "last_update_time DESC" => (Time::Updated, true),
                "last_update_time" | "last_update_time ASC" => (Time::Updated, false),
                "creation_time DESC" => (Time::Created, true),
                "creation_time" | "creation_time ASC" => (Time::Created, false),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Self { by, descending, active }))
    }

    fn shows(&self, entry: &Entry) -> bool {
        self.active.is_none_or(|active| active == entry.active)
    }

    /// What comes first has the least; `None` for a time that MLflow does not know.
    fn key(&self, entry: &Entry) -> Option<i64> {
        let time = match self.by {
            Time::Created => entry.created,
            Time::Updated => entry.updated,
        }?;
        Some(if self.descending { time.saturating_neg() } else { time })
    }
}

/// The ids of so many visible experiments, after so many others. `None` where the order of some is unknown. The census is the
/// one that was looked through.
pub(super) fn ids<'a>(
    seen: &Seen,
    census: &'a Census,
    order: &Order,
    after: usize,
    count: usize,
) -> Option<Vec<&'a str>> {
    let entries = seen.among(census).filter(|entry| order.shows(entry));
    let mut found = entries
        .map(|entry| Some((order.key(entry)?, entry.experiment.id.as_str())))
        .collect::<Option<Vec<_>>>()?;
    let end = after.saturating_add(count);
    if end < found.len() {
        found.select_nth_unstable(end);
        found.truncate(end);
    }
    found.sort_unstable();
    Some(found.into_iter().skip(after).map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{Access, SystemRandom};
    use crate::mlflow::listing::View;
    use crate::mlflow::lookup::ExperimentRef;
    use crate::mlflow::{Outgoing, OutgoingBody};
    use crate::store::Sealer;

    fn order(body: &Value) -> Option<Order> {
        let request = Outgoing {
            method: http::Method::POST,
            target: "/api/2.0/mlflow/experiments/search".to_owned(),
            body: OutgoingBody::Bytes(body.to_string().into()),
        };
        Order::of(&Parameters::of(&request).unwrap()).unwrap()
    }

    fn census(times: &[(i64, Option<i64>, bool)]) -> Census {
        let entries = times.iter().enumerate().map(|(index, (created, updated, active))| {
            Arc::new(Entry {
                experiment: ExperimentRef {
                    own_folder: None,
                    id: index.to_string(),
                    name: if index % 3 == 2 { "theirs" } else { "mine" }.to_owned(),
                    marks: None,
                },
                created: Some(*created),
                updated: *updated,
                active: *active,
            })
        });
        Census {
            generation: 1,
            experiments: entries.collect(),
        }
    }

    fn page(census: &Census, asked: &Value, after: usize, count: usize) -> Option<Vec<String>> {
        let may = |access: &Access| matches!(access, Access::On { resource, .. } if resource.name() == Some("mine"));
        let sealer = Sealer::new(&[[7; 32]], Arc::new(SystemRandom::default()));
        let view = View {
            may: &may,
            sealer: &sealer,
            reader: "",
            rights: 0,
        };
        let seen = Seen::of(census, &view);
        let found = ids(&seen, census, &order(asked)?, after, count)?;
        Some(found.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn only_what_the_index_can_tell_is_asked_for_by_ids() {
        for known in [
            json!({}),
            json!({"filter": " "}),
            json!({"order_by": ["last_update_time DESC"], "view_type": "ACTIVE_ONLY"}),
            json!({"orderBy": ["creation_time"], "viewType": 3}),
        ] {
            assert!(order(&known).is_some(), "{known}");
        }
        for unknown in [
            json!({"filter": "name LIKE 'a%'"}),
            json!({"order_by": ["name ASC"]}),
            json!({"order_by": ["creation_time DESC", "name"]}),
            json!({"order_by": ["last_update_time desc"]}),
            json!({"view_type": "SOME"}),
        ] {
            assert_eq!(order(&unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_page_holds_the_visible_ones_in_mlflows_order() {
        let all = census(&[
            (10, Some(50), true),
            (20, Some(40), true),
            (30, Some(60), true),
            (40, Some(45), true),
            (50, Some(70), false),
        ]);
        let latest = json!({"order_by": ["last_update_time DESC"]});
        assert_eq!(page(&all, &latest, 0, 2).unwrap(), ["0", "3"]);
        assert_eq!(page(&all, &latest, 2, 2).unwrap(), ["1"]);
        assert!(page(&all, &latest, 3, 2).unwrap().is_empty());
        assert_eq!(page(&all, &json!({}), 0, 9).unwrap(), ["3", "1", "0"]);
        assert_eq!(
            page(
                &all,
                &json!({"order_by": ["creation_time ASC"], "view_type": "ALL"}),
                0,
                9
            )
            .unwrap(),
            ["0", "1", "3", "4"]
        );
        assert_eq!(page(&all, &json!({"view_type": "DELETED_ONLY"}), 0, 9).unwrap(), ["4"]);
    }

    #[test]
    fn a_time_that_is_not_known_leaves_the_order_to_mlflow() {
        let all = census(&[(10, Some(50), true), (20, None, true)]);
        assert_eq!(page(&all, &json!({"order_by": ["last_update_time DESC"]}), 0, 9), None);
        assert!(page(&all, &json!({}), 0, 9).is_some());
    }
}
