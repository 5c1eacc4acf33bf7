//! The tags that a request writes or takes off: some decide over rights or say where files are.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::canonical::Target;
use super::routes::Found;
use super::{MlflowError, attribution, fields, marks};

/// The tag that makes a registered model a prompt.
const PROMPT: &str = "mlflow.prompt.is_prompt";
/// What the gateway alone writes.
const OWN: &str = "mlgate.";
/// A root span's attribute with this prefix becomes a tag of its trace (`mlflow/tracing/constant.py`).
pub(super) const OF_SPAN: &str = "mlflow.traceTag.";
/// Where MLflow looks for the files and spans of a trace (`mlflow/server/handlers.py`, `_HANDLER_BLOCKED_TRACE_TAGS`). Before
/// 3.13 it goes wherever a client sends it.
const STORAGE: [&str; 3] = [
    "mlflow.artifactlocation",
    "mlflow.trace.spanslocation",
    "mlflow.trace.archivelocation",
];

/// Whether a key is that of the tag which names a thing's maker, or could be to a database that compares without case,
/// blanks or accents.
pub(super) fn names_maker(key: &str) -> bool {
    is_or_resembles(key, attribution::USER)
}

/// MySQL's usual collations take `é` and `E` for `e`, and some characters for nothing: what is left of such a key says what it
/// could be. A key of plain characters is itself.
pub(super) fn is_or_resembles(key: &str, reserved: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(|character| character.is_ascii_graphic())
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let key = key.trim();
    if key.is_ascii() && !key.contains(|character: char| character.is_ascii_control()) {
        return key.eq_ignore_ascii_case(reserved);
    }
    let mut left = reserved.chars().map(|character| character.to_ascii_lowercase());
    plain.len() * 2 > reserved.len() && plain.chars().all(|character| left.any(|other| other == character))
}

/// A tag to be written; its value is `None` where it is taken off, or is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Option<&'a str>,
}

impl<'a> Tag<'a> {
    fn new(key: &'a str, value: Option<&'a Value>) -> Self {
        Self {
            key: Cow::Borrowed(key),
            value: value.and_then(Value::as_str),
        }
    }

    /// The key as a database may compare it.
    fn folded(&self) -> String {
        self.key.trim().to_lowercase()
    }

    fn is_own(&self) -> bool {
        self.folded().starts_with(OWN)
            || is_or_resembles(&self.key, marks::OWNER)
            || is_or_resembles(&self.key, marks::SHARE)
    }

    /// Whether MLflow would look for a trace's files or spans where this tag says.
    pub(super) fn is_storage(&self) -> bool {
        STORAGE.iter().any(|key| is_or_resembles(&self.key, key))
    }
}

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

/// Every tag that a request names: in lists and maps of its body, as its one `key`, in the query, and in the path.
pub(super) fn named<'a>(found: &'a Found, target: &'a Target, json: Option<&'a Map<String, Value>>) -> Vec<Tag<'a>> {
    let mut all = Vec::new();
    for (name, value) in &found.values {
        if matches!(*name, "key" | "tag_key") {
            all.push(Tag::new(value, None));
        }
    }
    all.extend(
        target
            .query
            .iter()
            .filter(|(name, _)| name == "key")
            .map(|(_, value)| Tag::new(value, None)),
    );
    let Some(map) = json else { return all };
    all.extend(pair(map));
    all.extend(listed(fields::field(map, "tags")));
    let trace = ["trace", "trace_info", "tags"]
        .into_iter()
        .try_fold(map, |map, name| fields::field(map, name)?.as_object());
    all.extend(
        trace
            .into_iter()
            .flatten()
            .map(|(key, value)| Tag::new(key, Some(value))),
    );
    all
}

/// A list of pairs, or a map.
fn listed(tags: Option<&Value>) -> Vec<Tag<'_>> {
    match tags {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_object).filter_map(pair).collect(),
        Some(Value::Object(items)) => items.iter().map(|(key, value)| Tag::new(key, Some(value))).collect(),
        Some(_) | None => Vec::new(),
    }
}

fn pair(map: &Map<String, Value>) -> Option<Tag<'_>> {
    Some(Tag::new(
        fields::field(map, "key")?.as_str()?,
        fields::field(map, "value"),
    ))
}

/// Whether the registered model that a request creates is a prompt: its list of tags alone says so.
///
/// # Errors
/// `Malformed` where two readers could see two things: the key twice, or spelt as only some databases take it for the same.
pub(super) fn makes_prompt(json: Option<&Map<String, Value>>) -> Result<bool, MlflowError> {
    let tags = listed(json.and_then(|map| fields::field(map, "tags")));
    let mut said = None;
    for tag in tags.iter().filter(|tag| is_or_resembles(&tag.key, PROMPT)) {
        if tag.key != PROMPT || said.is_some() {
            return Err(malformed("What is a prompt must be said once, in one spelling."));
        }
        said = Some(tag.value.is_some_and(|value| value.eq_ignore_ascii_case("true")));
    }
    Ok(said.unwrap_or_default())
}

/// Refuses tags that are not a client's to write.
///
/// # Errors
/// `Malformed` for the gateway's own tags, and for making a prompt of a model that is there.
pub(super) fn refuse_reserved(action: &str, tags: &[Tag<'_>]) -> Result<(), MlflowError> {
    let creates = matches!(action, "registered_model.create" | "model_version.create");
    for tag in tags {
        if tag.is_own() {
            return Err(malformed(
                "Tags that start with 'mlgate.' are written by the gateway alone.",
            ));
        }
        if !creates && action.starts_with("registered_model.") && is_or_resembles(&tag.key, PROMPT) {
            return Err(malformed("What is a prompt is said when it is created, and stays."));
        }
    }
    Ok(())
}

/// Refuses to name a thing's maker in a request that does nothing else. In lists of tags the name is left out.
///
/// # Errors
/// `Malformed` where the one tag that is written or taken off is that of the maker.
pub(super) fn refuse_maker(
    found: &Found,
    target: &Target,
    json: Option<&Map<String, Value>>,
) -> Result<(), MlflowError> {
    let in_path = found
        .values
        .iter()
        .filter(|(name, _)| matches!(*name, "key" | "tag_key"));
    let in_query = target.query.iter().filter(|(name, _)| name == "key");
    let in_body = json.and_then(|map| fields::field(map, "key")?.as_str());
    let mut keys = in_path
        .map(|(_, key)| key.as_str())
        .chain(in_query.map(|(_, key)| key.as_str()))
        .chain(in_body);
    if keys.any(names_maker) {
        Err(malformed("Who made a thing is said when it is made, and stays."))
    } else {
        Ok(())
    }
}

/// Refuses a span's or a resource's attribute that MLflow would make a tag of its trace which is not a client's to write.
///
/// # Errors
/// `Malformed` for such an attribute.
pub(super) fn refuse_reserved_attribute(key: &str) -> Result<(), MlflowError> {
    let tag = Tag::new(of_attribute(key), None);
    if tag.is_own() || tag.is_storage() {
        Err(malformed("An attribute of a span names a tag that is not a client's."))
    } else {
        Ok(())
    }
}

/// The tag that an attribute may become.
pub(super) fn of_attribute(key: &str) -> &str {
    key.trim().strip_prefix(OF_SPAN).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Map<String, Value> {
        fields::object(body.as_bytes()).unwrap()
    }

    fn tags(body: &str) -> Vec<String> {
        let mut all = Vec::new();
        let map = read(body);
        all.extend(pair(&map));
        all.extend(listed(fields::field(&map, "tags")));
        all.iter()
            .map(|tag| format!("{}={}", tag.key, tag.value.unwrap_or("-")))
            .collect()
    }

    #[test]
    fn tags_are_found_however_they_are_written() {
        assert_eq!(tags(r#"{"key": "a", "value": "1"}"#), ["a=1"]);
        assert_eq!(
            tags(r#"{"tags": [{"key": "a", "value": "1"}, {"key": "b"}]}"#),
            ["a=1", "b=-"]
        );
        assert_eq!(tags(r#"{"tags": {"a": "1"}}"#), ["a=1"]);
    }

    #[test]
    fn a_prompt_is_made_by_one_tag_of_the_list_alone() {
        let makes = |body: &str| makes_prompt(Some(&read(body)));
        assert!(makes(r#"{"name": "a", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "True"}]}"#).unwrap());
        assert!(!makes(r#"{"name": "a", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "no"}]}"#).unwrap());
        assert!(!makes(r#"{"name": "a", "key": "mlflow.prompt.is_prompt", "value": "true"}"#).unwrap());
        for twice in [
            r#"{"tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.is_prompt", "value": "false"}]}"#,
            r#"{"tags": [{"key": "MLFLOW.prompt.is_prompt", "value": "true"}]}"#,
            r#"{"tags": [{"key": " mlflow.prompt.is_prompt", "value": "true"}]}"#,
            r#"{"tags": [{"key": "mlflow.prompt.is_pr\u00f6mpt", "value": "true"}]}"#,
        ] {
            assert!(makes(twice).is_err(), "{twice}");
        }
    }

    #[test]
    fn a_key_that_a_database_could_take_for_the_makers_is_one() {
        for key in [
            "mlflow.user",
            "MLflow.User",
            " mlflow.user ",
            "mlfl\u{f6}w.user",
            "mlflow.use\u{301}r",
            "mlflow.\u{200b}user",
            "mlflow.\0user",
        ] {
            assert!(names_maker(key), "{key:?}");
        }
        for key in [
            "user",
            "mlflow.users",
            "mlflow.trace.user",
            "mlflow.source.name",
            "b\u{e9}n\u{e9}fice",
            "k\u{e4}se",
            "\u{7528}\u{6237}",
            "",
        ] {
            assert!(!names_maker(key), "{key:?}");
        }
    }

    #[test]
    fn a_prompt_stays_one_in_every_spelling_of_its_tag() {
        let said = |key: &str| refuse_reserved("registered_model.set_tag", &[Tag::new(key, None)]).is_err();
        for key in [
            "mlflow.prompt.is_prompt",
            "MLflow.prompt.IS_PROMPT ",
            "mlflow.prompt.is_pr\u{f6}mpt",
        ] {
            assert!(said(key), "{key:?}");
        }
        assert!(!said("mlflow.prompt.text") && !said("\u{30d7}\u{30ed}\u{30f3}\u{30d7}\u{30c8}"));
        assert!(is_or_resembles("champi\u{f6}n", "Champion") && !is_or_resembles("champions", "Champion"));
    }

    #[test]
    fn an_attribute_that_becomes_a_reserved_tag_is_refused() {
        for key in [
            "mlgate.owner",
            "mlflow.artifactLocation",
            "mlflow.traceTag.mlflow.artifactLocation",
            "mlflow.traceTag.mlgate.owner",
            "mlflow.traceTag.mlflow.trace.spansLocation",
            "mlflow.artif\u{e4}ctLocation",
        ] {
            assert!(refuse_reserved_attribute(key).is_err(), "{key}");
        }
        for key in ["mlflow.traceTag.team", "mlflow.spanInputs", "service.name"] {
            assert!(refuse_reserved_attribute(key).is_ok(), "{key}");
        }
    }
}
