//! The fields of a listing request, from its query or its JSON body, and the same request with some of them changed.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::mlflow::{MlflowError, Outgoing, OutgoingBody};

#[derive(Clone, Debug)]
pub(super) struct Parameters {
    method: Method,
    path: String,
    fields: Fields,
}

#[derive(Clone, Debug)]
enum Fields {
    Query(Vec<(String, String)>),
    Body(Map<String, Value>),
}

impl Parameters {
    pub(super) fn of(request: &Outgoing) -> Result<Self, MlflowError> {
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, query),
            None => (request.target.as_str(), ""),
        };
        let fields = match (&request.method, &request.body) {
            (&Method::GET, OutgoingBody::Empty) => {
                Fields::Query(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
            }
            (&Method::POST, OutgoingBody::Bytes(body)) => {
                Fields::Body(serde_json::from_slice(body).map_err(|_| malformed("the body is no JSON object"))?)
            }
            (&Method::POST, OutgoingBody::Empty) => Fields::Body(Map::new()),
            _ => return Err(malformed("a list is asked by GET, or by POST with a body")),
        };
        Ok(Self {
            method: request.method.clone(),
            path: path.to_owned(),
            fields,
        })
    }

    /// One text or number.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, MlflowError> {
        match &self.fields {
            Fields::Query(pairs) => Ok(pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())),
            Fields::Body(map) => match field(map, name)? {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(Value::Number(number)) => Ok(Some(number.to_string())),
                Some(_) => Err(malformed(&format!("{name} must be one value"))),
            },
        }
    }

    /// All of the question but which page of its answer: the same for each of them.
    pub(super) fn question(&self) -> String {
        let is_page = |name: &str| matches!(name, "page_token" | "pageToken" | "max_results" | "maxResults");
        let path = self.path.strip_prefix("/ajax-api/").unwrap_or(&self.path);
        let path = path.strip_prefix("/api/").unwrap_or(path);
        let fields = match &self.fields {
            Fields::Query(pairs) => form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs.iter().filter(|(name, _)| !is_page(name)))
                .finish(),
            Fields::Body(map) => {
                let mut map = map.clone();
                map.retain(|name, _| !is_page(name));
                Value::Object(map).to_string()
            }
        };
        format!("{} {path}\n{fields}", self.method)
    }

    /// A page's size.
    pub(super) fn size(&self, name: &str, default: usize, largest: usize) -> Result<usize, MlflowError> {
        let Some(text) = self.text(name)? else {
            return Ok(default);
        };
        match text.parse() {
            Ok(size) if (1..=largest).contains(&size) => Ok(size),
            _ => Err(malformed(&format!("{name} must be a whole number from 1 to {largest}"))),
        }
    }

    /// A repeated text.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, MlflowError> {
        match &self.fields {
            Fields::Query(pairs) => Ok(pairs
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .collect()),
            Fields::Body(_) => self
                .values(name)?
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(malformed(&format!("{name} must be a list of texts"))),
                })
                .collect(),
        }
    }

    /// A repeated field of a body.
    pub(super) fn values(&self, name: &str) -> Result<Vec<Value>, MlflowError> {
        let Fields::Body(map) = &self.fields else {
            return Ok(Vec::new());
        };
        match field(map, name)? {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values.clone()),
            Some(_) => Err(malformed(&format!("{name} must be a list"))),
        }
    }

    /// The same request with one field changed; an empty list takes it away.
    pub(super) fn with(&self, name: &str, values: Vec<Value>, repeated: bool) -> Self {
        let mut changed = self.clone();
        match &mut changed.fields {
            Fields::Query(pairs) => {
                pairs.retain(|(key, _)| key != name);
                pairs.extend(values.into_iter().map(|value| match value {
                    Value::String(text) => (name.to_owned(), text),
                    other => (name.to_owned(), other.to_string()),
                }));
            }
            Fields::Body(map) => {
                let key = if map.contains_key(name) {
                    name.to_owned()
                } else {
                    camel(name)
                };
                map.shift_remove(&key);
                let mut values = values;
                match (repeated, values.pop()) {
                    (_, None) => None,
                    (false, Some(value)) => map.insert(key, value),
                    (true, Some(last)) => {
                        values.push(last);
                        map.insert(key, Value::Array(values))
                    }
                };
            }
        }
        changed
    }

    pub(super) fn request(&self) -> Outgoing {
        match &self.fields {
            Fields::Query(pairs) if pairs.is_empty() => Outgoing {
                method: self.method.clone(),
                target: self.path.clone(),
                body: OutgoingBody::Empty,
            },
            Fields::Query(pairs) => {
                let query = form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(pairs)
                    .finish();
                Outgoing {
                    method: self.method.clone(),
                    target: format!("{}?{query}", self.path),
                    body: OutgoingBody::Empty,
                }
            }
            Fields::Body(map) => Outgoing {
                method: self.method.clone(),
                target: self.path.clone(),
                body: OutgoingBody::Bytes(Bytes::from(Value::Object(map.clone()).to_string())),
            },
        }
    }
}

/// A body may spell a field in either of protobuf's two ways, never in both.
fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Value>, MlflowError> {
    let camel = camel(name);
    match (map.get(name), map.get(&camel)) {
        (Some(_), Some(_)) if camel != name => Err(malformed(&format!("{name} is given twice"))),
        (Some(value), _) | (None, Some(value)) => Ok(Some(value)),
        (None, None) => Ok(None),
    }
}

fn camel(name: &str) -> String {
    let mut upper = false;
    let mut spelled = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => spelled.push(letter.to_ascii_uppercase()),
            _ => spelled.push(letter),
        }
    }
    spelled
}

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Parameters {
        let request = Outgoing {
            method: Method::GET,
            target: target.into(),
            body: OutgoingBody::Empty,
        };
        Parameters::of(&request).unwrap()
    }

    fn post(body: &'static str) -> Parameters {
        let request = Outgoing {
            method: Method::POST,
            target: "/search".into(),
            body: OutgoingBody::Bytes(Bytes::from_static(body.as_bytes())),
        };
        Parameters::of(&request).unwrap()
    }

    #[test]
    fn a_query_keeps_what_is_not_changed() {
        let asked = get("/list?filter=a%20%3D%20'b%26c'&max_results=5&experiment_ids=1&experiment_ids=2");
        assert_eq!(asked.texts("experiment_ids").unwrap(), ["1", "2"]);
        assert_eq!(asked.size("max_results", 1, 10).unwrap(), 5);
        let changed = asked
            .with("experiment_ids", vec!["2".into()], true)
            .with("max_results", vec![6.into()], false);
        assert_eq!(
            changed.request().target,
            "/list?filter=a+%3D+%27b%26c%27&experiment_ids=2&max_results=6"
        );
    }

    #[test]
    fn a_body_keeps_its_spelling_and_what_is_not_changed() {
        let asked = post(r#"{"experimentIds":["1","2"],"maxResults":"7","orderBy":["a"]}"#);
        assert_eq!(asked.texts("experiment_ids").unwrap(), ["1", "2"]);
        assert_eq!(asked.size("max_results", 1, 10).unwrap(), 7);
        let OutgoingBody::Bytes(body) = asked.with("experiment_ids", vec!["2".into()], true).request().body else {
            panic!("a body");
        };
        assert_eq!(body, r#"{"maxResults":"7","orderBy":["a"],"experimentIds":["2"]}"#);
    }

    #[test]
    fn a_field_in_both_spellings_or_of_the_wrong_shape_is_refused() {
        assert!(
            post(r#"{"experimentIds":["1"],"experiment_ids":["2"]}"#)
                .texts("experiment_ids")
                .is_err()
        );
        assert!(post(r#"{"experiment_ids":[1]}"#).texts("experiment_ids").is_err());
        assert!(post(r#"{"experiment_ids":"1"}"#).texts("experiment_ids").is_err());
        for size in ["0", "-1", "11", "1.5", "x", "null", "[]"] {
            let body: &'static str = Box::leak(format!(r#"{{"max_results":"{size}"}}"#).into_boxed_str());
            assert!(post(body).size("max_results", 1, 10).is_err(), "{size}");
        }
        assert_eq!(post("{}").size("max_results", 3, 10).unwrap(), 3);
    }
}
