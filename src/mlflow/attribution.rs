//! Who made a thing, said in the request that makes it: the caller, whatever the client wrote, then or later.
//!
//! MLflow believes its clients: the user of a run, a trace or a model is a field or a tag that they send. So the request is written anew
//! before it is decided on.

use serde_json::{Map, Value, json};

use super::routes::{Base, Row};
use super::{MlflowError, fields, marks, tags};
use crate::domain::Identity;

/// The tag, and in traces the metadata, that names who made a thing (`mlflow/utils/mlflow_tags.py`).
pub(super) const USER: &str = "mlflow.user";

/// Fields in which a client says who it is, of everything that MLflow keeps.
const SIGNATURES: [&str; 4] = ["created_by", "updated_by", "last_updated_by", "completed_by"];

/// Writes the caller into what a request makes, and takes the word of the client out of everything else. Whether anything changed.
///
/// # Errors
/// `Malformed` where tags are neither a list of pairs nor a map.
pub(super) fn sign(row: &Row, body: &mut Map<String, Value>, caller: &Identity) -> Result<bool, MlflowError> {
    let user = caller.user.as_str();
    let add = Some(user);
    let mut changed = false;
    match row.action {
        "run.create" | "run.create_promptlab" => {
            set(body, "user_id", user.into());
            pairs(body, "tags", add)?;
            changed = true;
        }
        "experiment.create" => {
            pairs(body, "tags", None)?;
            changed = own(body, caller);
        }
        "registered_model.create" => {
            pairs(body, "tags", add)?;
            changed = own(body, caller);
        }
        "model_version.create" | "logged_model.create" => changed = pairs(body, "tags", add)?,
        "trace.start" if row.base == Base::Two => {
            pairs(body, "tags", add)?;
            pairs(body, "request_metadata", add)?;
            changed = true;
        }
        "trace.start" => changed = of_trace(body, user)?,
        "dataset.create" => changed = of_dataset(body, add)?,
        "dataset.set_tags" => changed = of_dataset(body, None)?,
        _ if row.is_read() => return Ok(false),
        _ => {
            for place in ["tags", "request_metadata"] {
                match fields::field(body, place) {
                    Some(Value::Array(_)) => changed |= pairs(body, place, None)?,
                    Some(Value::Object(_)) => changed |= free(body, place, None)?,
                    Some(_) | None => {}
                }
            }
        }
    }
    for name in SIGNATURES {
        if fields::field(body, name).is_some() {
            set(body, name, user.into());
            changed = true;
        }
    }
    Ok(changed)
}

/// Adds the mark of the owner. A client's own was refused before.
fn own(body: &mut Map<String, Value>, caller: &Identity) -> bool {
    if let Some(Value::Array(tags)) = body.get_mut("tags") {
        tags.push(json!({"key": marks::OWNER, "value": caller.qualified_user()}));
    }
    true
}

/// Names the maker of a trace that is there already, where a client starts it once more.
///
/// # Errors
/// As `sign`.
pub(super) fn sign_again(body: &mut Map<String, Value>, maker: &str) -> Result<(), MlflowError> {
    of_trace(body, maker).map(|_| ())
}

/// The id of the trace that a request of 3.x starts.
pub(super) fn started(body: &Map<String, Value>) -> Option<&str> {
    let info = ["trace", "trace_info"]
        .into_iter()
        .try_fold(body, |map, name| fields::field(map, name)?.as_object())?;
    fields::field(info, "trace_id")?.as_str()
}

fn of_trace(body: &mut Map<String, Value>, user: &str) -> Result<bool, MlflowError> {
    let info = field_mut(body, "trace")
        .and_then(Value::as_object_mut)
        .and_then(|trace| field_mut(trace, "trace_info"))
        .and_then(Value::as_object_mut);
    // Without them the request names no experiment, and is refused.
    let Some(info) = info else { return Ok(false) };
    let (tags, metadata) = (
        free(info, "tags", Some(user))?,
        free(info, "trace_metadata", Some(user))?,
    );
    Ok(tags || metadata)
}

/// A dataset's tags are a text that holds JSON.
fn of_dataset(body: &mut Map<String, Value>, user: Option<&str>) -> Result<bool, MlflowError> {
    let tags = match fields::field(body, "tags") {
        Some(Value::String(text)) if !text.is_empty() => fields::object(text.as_bytes())?,
        _ => Map::new(),
    };
    let mut whole = Map::from_iter([("tags".to_owned(), Value::Object(tags))]);
    let changed = free(&mut whole, "tags", user)?;
    if changed {
        let text = whole.remove("tags").unwrap_or_default().to_string();
        set(body, "tags", text.into());
    }
    Ok(changed)
}

/// A field in either spelling.
pub(super) fn field_mut<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Value> {
    let name = spelt(map, name);
    map.get_mut(&name)
}

/// How a body spells a field.
fn spelt(map: &Map<String, Value>, name: &str) -> String {
    let camel = fields::lower_camel(name);
    if map.contains_key(&camel) {
        camel
    } else {
        name.to_owned()
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    let name = spelt(map, name);
    map.insert(name, value);
}

/// Takes the client's word out of a list of pairs, and puts the user in where there is one to name.
fn pairs(map: &mut Map<String, Value>, name: &str, user: Option<&str>) -> Result<bool, MlflowError> {
    let says = |item: &Value| {
        let key = item.as_object().and_then(|pair| fields::field(pair, "key")?.as_str());
        key.is_some_and(tags::names_maker)
    };
    let spelling = spelt(map, name);
    let entry = map.entry(spelling).or_insert_with(|| Value::Array(Vec::new()));
    if entry.is_null() {
        *entry = Value::Array(Vec::new());
    }
    let Value::Array(list) = entry else {
        return Err(MlflowError::Malformed(format!("{name} must be a list.")));
    };
    let before = list.len();
    list.retain(|item| !says(item));
    if let Some(user) = user {
        list.push(json!({"key": USER, "value": user}));
        return Ok(true);
    }
    Ok(list.len() != before)
}

/// Likewise of a map from keys to texts.
fn free(map: &mut Map<String, Value>, name: &str, user: Option<&str>) -> Result<bool, MlflowError> {
    let spelling = spelt(map, name);
    let entry = map.entry(spelling).or_insert_with(|| Value::Object(Map::new()));
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    let Value::Object(tags) = entry else {
        return Err(MlflowError::Malformed(format!("{name} must be an object.")));
    };
    let before = tags.len();
    tags.retain(|key, _| !tags::names_maker(key));
    if let Some(user) = user {
        tags.insert(USER.to_owned(), user.into());
        return Ok(true);
    }
    Ok(tags.len() != before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::mlflow::routes::rows;

    fn carol() -> Identity {
        Identity {
            provider: "idp".to_owned(),
            subject: "1".to_owned(),
            user: "carol".to_owned(),
            display_name: None,
            email: None,
            groups: Vec::new(),
            authenticated_at: Timestamp::from_seconds(0),
        }
    }

    fn signed(action: &str, base: Base, body: &Value) -> Value {
        let row = rows().find(|row| row.action == action && row.base == base).unwrap();
        let mut map = fields::object(body.to_string().as_bytes()).unwrap();
        let before = map.clone();
        let changed = sign(row, &mut map, &carol()).unwrap();
        assert_eq!(changed, before != map, "{action}");
        Value::Object(map)
    }

    const OTHERS: [&str; 3] = ["mlflow.user", " MLFLOW.User", "mlflow.us\u{e9}r"];

    #[test]
    fn what_is_made_says_who_made_it() {
        let mine = json!({"key": "mlflow.user", "value": "carol"});
        let run = signed("run.create", Base::Two, &json!({"experiment_id": "1"}));
        assert_eq!(run, json!({"experiment_id": "1", "user_id": "carol", "tags": [mine]}));
        for other in OTHERS {
            let said = json!([{"key": "k", "value": "v"}, {"key": other, "value": "mallory"}]);
            let run = signed("run.create", Base::Two, &json!({"userId": "mallory", "tags": said}));
            assert_eq!(
                run,
                json!({"userId": "carol", "tags": [{"key": "k", "value": "v"}, mine]})
            );
            for action in ["model_version.create", "logged_model.create"] {
                let made = signed(action, Base::Two, &json!({"name": "m", "tags": said}));
                assert_eq!(made, json!({"name": "m", "tags": [{"key": "k", "value": "v"}, mine]}));
            }
            let owned = json!({"key": "mlgate.owner", "value": "idp:carol"});
            let made = signed("registered_model.create", Base::Two, &json!({"tags": said}));
            assert_eq!(made, json!({"tags": [{"key": "k", "value": "v"}, mine, owned]}));
            let made = signed("experiment.create", Base::Two, &json!({"tags": said}));
            assert_eq!(made, json!({"tags": [{"key": "k", "value": "v"}, owned]}));
            let started = signed(
                "trace.start",
                Base::Two,
                &json!({"requestMetadata": said, "tags": null}),
            );
            assert_eq!(
                started,
                json!({"requestMetadata": [{"key": "k", "value": "v"}, mine], "tags": [mine]})
            );
            let said = json!({"k": "v", other: "mallory", "mlflow.trace.user": "a customer"});
            let started = signed(
                "trace.start",
                Base::Three,
                &json!({"trace": {"traceInfo": {"traceMetadata": said}}}),
            );
            let expected = json!({"k": "v", "mlflow.trace.user": "a customer", "mlflow.user": "carol"});
            assert_eq!(
                started,
                json!({"trace": {"traceInfo": {"traceMetadata": expected, "tags": {"mlflow.user": "carol"}}}})
            );
        }
        let dataset = signed(
            "dataset.create",
            Base::Three,
            &json!({"name": "d", "tags": "{\"a\":\"b\",\"mlflow.user\":\"mallory\"}", "created_by": "mallory"}),
        );
        assert_eq!(
            dataset,
            json!({"name": "d", "tags": "{\"a\":\"b\",\"mlflow.user\":\"carol\"}", "created_by": "carol"})
        );
    }

    #[test]
    fn nobody_is_named_later() {
        for other in OTHERS {
            let said = json!([{"key": other, "value": "mallory"}, {"key": "k", "value": "v"}]);
            let batch = signed("run.log_batch", Base::Two, &json!({"run_id": "a", "tags": said}));
            assert_eq!(batch, json!({"run_id": "a", "tags": [{"key": "k", "value": "v"}]}));
            let end = signed("trace.end", Base::Two, &json!({"request_metadata": said, "tags": said}));
            let dataset = json!({"tags": json!({"k": "v", other: "mallory"}).to_string()});
            let dataset = signed("dataset.set_tags", Base::Three, &dataset);
            assert_eq!(dataset, json!({"tags": "{\"k\":\"v\"}"}));
            let kept = json!([{"key": "k", "value": "v"}]);
            assert_eq!(end, json!({"request_metadata": kept, "tags": kept}));
        }
    }

    #[test]
    fn what_says_nothing_of_a_maker_is_left_alone() {
        for body in [
            json!({"run_id": "a", "tags": [{"key": "user", "value": "x"}], "metrics": [{"key": "m", "value": 1.0}]}),
            json!({"run_id": "a"}),
            json!({"run_id": "a", "tags": null}),
        ] {
            assert_eq!(signed("run.log_batch", Base::Two, &body), body);
        }
        let row = rows().find(|row| row.action == "run.create").unwrap();
        let mut odd = fields::object(br#"{"tags": {"mlflow.user": "mallory"}}"#).unwrap();
        assert!(sign(row, &mut odd, &carol()).is_err());
    }
}
