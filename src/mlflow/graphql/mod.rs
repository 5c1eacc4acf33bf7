//! GraphQL documents: what the known root fields ask for. Everything else is refused.

mod document;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use graphql_parser::query::Value as Ast;
use http::StatusCode;
use serde_json::{Map, Value, json};

use self::document::{RootField, read, refuse};
use super::listing::{self, Cut, Plan, View};
use super::lookup::{Child, Lookup};
use super::{MlflowError, listing::readable, listing::readable_children};
use crate::domain::{Access, Kind, Permission, Resource};
use crate::outbound::UpstreamClient;

/// Runs and experiments that one document may name outside its searches.
const MOST: usize = 1000;

/// A document that was understood: what is sent, and what of its answer may belong to others.
#[derive(Debug)]
pub(super) struct Document {
    text: String,
    variables: Map<String, Value>,
    operation: Option<String>,
    /// Variables with lists that are thinned out to what may be seen.
    searches: Vec<Search>,
    version_keys: HashSet<String>,
}

/// Where in the variables a search's experiments or runs are.
#[derive(Debug)]
struct Search {
    variable: String,
    /// Whether the variable is the whole input or its list.
    whole: bool,
    /// The list's field.
    field: &'static str,
}

#[derive(Debug, Default)]
struct Needs {
    experiments: BTreeSet<String>,
    runs: BTreeSet<String>,
    every_model: bool,
    searches: Vec<Search>,
}

/// What a GraphQL request needs, and how its answer is cut. Every document that is understood has a plan: it is sent in
/// the gateway's spelling.
///
/// # Errors
/// `Malformed` for what is no document of known root fields; or when the upstream cannot be asked.
pub async fn accesses(lookup: &Arc<Lookup>, body: &[u8]) -> Result<(Vec<Access>, Option<Plan>), MlflowError> {
    let (document, needs) = understand(body)?;
    let mut found = BTreeSet::new();
    let mut accesses = vec![Access::Member];
    let mut need = |id: &str, resource: Resource| {
        if found.insert(id.to_owned()) {
            accesses.push(Access::on(Permission::Read, resource));
        }
    };
    let experiments: Vec<String> = needs.experiments.into_iter().collect();
    for (id, experiment) in experiments.iter().zip(lookup.experiments(&experiments).await?) {
        let resource = experiment.map(|experiment| experiment.resource());
        need(
            id,
            resource.unwrap_or_else(|| Resource::unknown(Kind::Experiment, id.as_str())),
        );
    }
    let runs: Vec<String> = needs.runs.into_iter().collect();
    for (run, experiment) in runs.iter().zip(lookup.experiments_of(Child::Run, &runs).await?) {
        match experiment {
            Some(experiment) => need(&experiment.id, experiment.resource()),
            None => need(run, Resource::unknown(Kind::Experiment, run.as_str())),
        }
    }
    if needs.every_model {
        for kind in [Kind::RegisteredModel, Kind::Prompt] {
            accesses.push(Access::on(Permission::Read, Resource::every(kind)));
        }
    }
    Ok((accesses, Some(Plan::graphql(document, lookup.clone()))))
}

fn understand(body: &[u8]) -> Result<(Document, Needs), MlflowError> {
    let mut body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| refuse("the body is no JSON object"))?;
    let Some(Value::String(query)) = body.remove("query") else {
        return Err(refuse("the body has no query"));
    };
    let variables = match body.remove("variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables,
        Some(_) => return Err(refuse("variables must be an object")),
    };
    let operation = match body.remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(refuse("operationName must be a text")),
    };
    let reading = read(&query)?;
    let mut needs = Needs::default();
    let values = Values {
        variables: &variables,
        asks_for_pages: reading.asks_for_pages,
    };
    for root in &reading.roots {
        values.needs_of(root, &mut needs)?;
    }
    if needs.runs.len() + needs.experiments.len() > MOST {
        return Err(refuse("the document names too many runs or experiments"));
    }
    let document = Document {
        text: reading.text,
        variables,
        operation,
        searches: needs.searches.split_off(0),
        version_keys: reading.version_keys,
    };
    Ok((document, needs))
}

/// The values of arguments: literals, variables, and the defaults of those not given.
struct Values<'a> {
    variables: &'a Map<String, Value>,
    asks_for_pages: bool,
}

impl Values<'_> {
    fn needs_of(&self, root: &RootField, needs: &mut Needs) -> Result<(), MlflowError> {
        match root.name.as_str() {
            "__typename" => {}
            "mlflowGetExperiment" => needs.experiments.extend(self.text(root, "experimentId")?),
            "mlflowGetRun" | "mlflowListArtifacts" => {
                needs.runs.extend(self.text(root, "runId")?);
                needs.runs.extend(self.text(root, "runUuid")?);
            }
            // Written into the document, they are no list to be thinned out: all of them must be readable.
            "mlflowGetMetricHistoryBulkInterval" => {
                let ids = self.texts(root, "runIds")?;
                match self.search_of(root, "runIds") {
                    Some(search) => needs.searches.push(search),
                    None => needs.runs.extend(ids),
                }
            }
            "mlflowSearchRuns" | "mlflowSearchDatasets" => {
                let ids = self.texts(root, "experimentIds")?;
                match self.search_of(root, "experimentIds") {
                    Some(search) => needs.searches.push(search),
                    None => needs.experiments.extend(ids),
                }
            }
            // The rows are cut by their names. A page of them would show where the others are.
            "mlflowSearchModelVersions" => {
                needs.every_model |=
                    self.asks_for_pages || self.gives(root, "maxResults")? || self.gives(root, "pageToken")?;
            }
            _ => {
                return Err(refuse(
                    "the document asks for a root field that the gateway does not know",
                ));
            }
        }
        Ok(())
    }

    /// The given variable that holds a search's experiments or runs.
    fn search_of(&self, root: &RootField, field: &'static str) -> Option<Search> {
        let (value, whole) = match &root.input {
            Ast::Object(map) => (map.get(field)?, false),
            input => (input, true),
        };
        match value {
            Ast::Variable(name) if self.variables.contains_key(name) => Some(Search {
                variable: name.clone(),
                whole,
                field,
            }),
            _ => None,
        }
    }

    /// Whether a field is there, whatever it is.
    fn gives(&self, root: &RootField, field: &str) -> Result<bool, MlflowError> {
        match &root.input {
            Ast::Object(map) => Ok(map.contains_key(field)),
            _ => Ok(!self.field(root, field)?.is_null()),
        }
    }

    fn text(&self, root: &RootField, field: &str) -> Result<Option<String>, MlflowError> {
        match self.field(root, field)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            // Other types would be made texts by MLflow, in its own way.
            _ => Err(refuse(&format!("{field} must be a text"))),
        }
    }

    fn texts(&self, root: &RootField, field: &str) -> Result<Vec<String>, MlflowError> {
        texts(self.field(root, field)?).ok_or_else(|| refuse(&format!("{field} must be a list of texts")))
    }

    fn field(&self, root: &RootField, field: &str) -> Result<Value, MlflowError> {
        match &root.input {
            Ast::Object(map) => map.get(field).map_or(Ok(Value::Null), |value| self.value(root, value)),
            Ast::Null => Ok(Value::Null),
            Ast::Variable(name) => match (self.variables.get(name), root.defaults.get(name)) {
                (Some(Value::Object(map)), _) => Ok(map.get(field).cloned().unwrap_or(Value::Null)),
                (Some(Value::Null), _) | (None, None) => Ok(Value::Null),
                (None, Some(Ast::Object(map))) => {
                    map.get(field).map_or(Ok(Value::Null), |value| self.value(root, value))
                }
                _ => Err(refuse("input must be an object")),
            },
            _ => Err(refuse("input must be an object")),
        }
    }

    fn value(&self, root: &RootField, value: &Ast<'static, String>) -> Result<Value, MlflowError> {
        match value {
            Ast::Variable(name) => match (self.variables.get(name), root.defaults.get(name)) {
                (Some(given), _) => Ok(given.clone()),
                (None, Some(Ast::Variable(_))) => Err(refuse("a default cannot be a variable")),
                (None, Some(default)) => self.value(root, default),
                (None, None) => Ok(Value::Null),
            },
            Ast::String(text) => Ok(Value::String(text.clone())),
            Ast::List(list) => list
                .iter()
                .map(|one| self.value(root, one))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Ast::Null => Ok(Value::Null),
            Ast::Int(_) | Ast::Float(_) | Ast::Boolean(_) | Ast::Enum(_) | Ast::Object(_) => {
                Err(refuse("an id must be a text"))
            }
        }
    }
}

/// A list of texts; nothing is an empty one.
fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list
            .into_iter()
            .map(|one| match one {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

impl Document {
    pub(super) async fn cut(
        &self,
        client: &UpstreamClient,
        lookup: &Lookup,
        target: &str,
        view: &View<'_>,
    ) -> Result<Cut, MlflowError> {
        let mut variables = self.variables.clone();
        if !view.reads_every(Kind::Experiment) {
            for search in &self.searches {
                let list = match (variables.get_mut(&search.variable), search.whole) {
                    (Some(Value::Object(input)), true) => input.get_mut(search.field),
                    (list, false) => list,
                    _ => None,
                };
                let Some(list) = list else { continue };
                let ids = texts(list.clone()).unwrap_or_default();
                let allowed = match search.field {
                    "runIds" => readable_children(lookup, Child::Run, &ids, view).await?,
                    _ => readable(lookup, &ids, view).await?,
                };
                *list = ids.into_iter().filter(|id| allowed.contains(id)).collect();
            }
        }
        let body = json!({ "query": self.text, "variables": variables, "operationName": self.operation });
        let (status, answer) = listing::post(client, target, Bytes::from(body.to_string())).await?;
        let all = [Kind::RegisteredModel, Kind::Prompt]
            .into_iter()
            .all(|kind| view.reads_every(kind));
        if status != StatusCode::OK || self.version_keys.is_empty() || all {
            return Ok(Cut::Answer(status, answer));
        }
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| MlflowError::Upstream("its GraphQL answer is no JSON".into()))?;
        let mut names = HashMap::new();
        each_versions(&mut answer, &self.version_keys, &mut |versions| {
            names.extend(versions.iter().filter_map(name_of).map(|name| (name.to_owned(), false)));
        });
        for (name, visible) in &mut names {
            *visible = lookup.may_read_model(name, view).await?;
        }
        each_versions(&mut answer, &self.version_keys, &mut |versions| {
            versions.retain(|version| name_of(version).is_some_and(|name| names.get(name) == Some(&true)));
        });
        Ok(Cut::Answer(status, Bytes::from(answer.to_string())))
    }
}

fn name_of(version: &Value) -> Option<&str> {
    version.get("name")?.as_str()
}

/// Every list of model versions in an answer. The depth is bounded by the document's.
fn each_versions(value: &mut Value, keys: &HashSet<String>, act: &mut dyn FnMut(&mut Vec<Value>)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(versions) if keys.contains(key) => act(versions),
                    other => each_versions(other, keys, act),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| each_versions(one, keys, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(query: &str, variables: Value) -> Result<Needs, MlflowError> {
        let body = json!({ "query": query, "variables": variables });
        let (document, mut needs) = understand(body.to_string().as_bytes())?;
        needs.searches = document.searches;
        Ok(needs)
    }

    #[test]
    fn ids_are_found_in_variables_literals_defaults_aliases_and_fragments() {
        for (query, variables) in [
            (
                "query Q($data: I!) { mlflowGetRun(input: $data) { a } }",
                json!({"data": {"runId": "r"}}),
            ),
            (
                "query Q($data: I!) { mlflowGetRun(input: $data) { a } }",
                json!({"data": {"runUuid": "r"}}),
            ),
            (
                "query Q($r: String) { x: mlflowGetRun(input: {runId: $r}) { a } }",
                json!({"r": "r"}),
            ),
            (
                "query Q($r: String = \"r\") { mlflowGetRun(input: {runId: $r}) { a } }",
                json!({}),
            ),
            (
                "query Q($d: I = {runId: \"r\"}) { mlflowGetRun(input: $d) { a } }",
                json!(null),
            ),
            (
                "{ ... on Query { mlflowListArtifacts(input: {runId: \"r\"}) { a } } }",
                json!(null),
            ),
            (
                "{ ...F } fragment F on Query { mlflowGetRun(input: {runId: \"r\"}) { a } }",
                json!(null),
            ),
            (
                "query Q($r: String) { mlflowGetMetricHistoryBulkInterval(input: {runIds: [$r]}) { a } }",
                json!({"r": "r"}),
            ),
        ] {
            let found = needs(query, variables).unwrap();
            assert_eq!(found.runs, BTreeSet::from(["r".to_owned()]), "{query}");
        }
        let both = needs(
            "{ mlflowGetRun(input: {runId: \"a\", runUuid: \"b\"}) { x } }",
            json!({}),
        )
        .unwrap();
        assert_eq!(both.runs.len(), 2);
        let experiment = needs("{ mlflowGetExperiment(input: {experimentId: \"7\"}) { x } }", json!({})).unwrap();
        assert_eq!(experiment.experiments, BTreeSet::from(["7".to_owned()]));
        let every = |query: &str| needs(query, json!({"d": {"pageToken": "t"}})).unwrap().every_model;
        assert!(!every(
            "{ mlflowSearchModelVersions(input: {filter: \"run_id = 'x'\"}) { x } }"
        ));
        for pages in [
            "{ mlflowSearchModelVersions { nextPageToken } }",
            "{ mlflowSearchModelVersions(input: {maxResults: 1}) { x } }",
            "query Q($d: I) { mlflowSearchModelVersions(input: $d) { x } }",
            "query Q($d: I = {maxResults: \"1\"}) { mlflowSearchModelVersions(input: $d) { x } } query R { x: mlflowSearchModelVersions { ...F } } fragment F on X { nextPageToken }",
        ] {
            assert!(every(pages), "{pages}");
        }
    }

    #[test]
    fn every_operation_counts_with_its_own_defaults() {
        let query = "query A($r: String = \"1\") { mlflowGetRun(input: {runId: $r}) { a } } \
                     query B($r: String = \"2\") { ...F } fragment F on Query { mlflowGetRun(input: {runId: $r}) { a } }";
        let found = needs(query, json!({})).unwrap();
        assert_eq!(found.runs, BTreeSet::from(["1".to_owned(), "2".to_owned()]));
        let given = needs(query, json!({"r": "3"})).unwrap();
        assert_eq!(given.runs, BTreeSet::from(["3".to_owned()]));
    }

    #[test]
    fn a_search_is_thinned_in_its_variables_and_held_whole_where_it_is_written_out() {
        let query = "query Q($data: I!) { mlflowSearchRuns(input: $data) { a } }";
        let found = needs(query, json!({"data": {"experimentIds": ["1", "2"]}})).unwrap();
        assert!(found.experiments.is_empty() && found.searches[0].whole);
        let query = "mutation Q($ids: [String]) { mlflowSearchDatasets(input: {experimentIds: $ids}) { a } }";
        let found = needs(query, json!({"ids": ["1", "2"]})).unwrap();
        assert!(found.experiments.is_empty() && !found.searches[0].whole);
        let query = "query Q($r: [String]) { mlflowGetMetricHistoryBulkInterval(input: {runIds: $r}) { a } }";
        let found = needs(query, json!({"r": ["r"]})).unwrap();
        assert!(found.runs.is_empty() && found.searches[0].field == "runIds");
        for (query, variables) in [
            (
                "{ mlflowSearchRuns(input: {experimentIds: [\"1\", \"2\"]}) { a } }",
                json!({}),
            ),
            (
                "query Q($i: [String] = [\"1\", \"2\"]) { mlflowSearchRuns(input: {experimentIds: $i}) { a } }",
                json!({}),
            ),
            (
                "query Q($i: String) { mlflowSearchRuns(input: {experimentIds: [\"1\", $i]}) { a } }",
                json!({"i": "2"}),
            ),
        ] {
            let found = needs(query, variables).unwrap();
            assert_eq!(found.experiments.len(), 2, "{query}");
            assert!(found.searches.is_empty());
        }
    }

    #[test]
    fn what_is_not_known_or_not_a_text_is_refused() {
        for (query, variables) in [
            ("{ test(input: \"a\") { output } }", json!({})),
            ("{ __schema { types { name } } }", json!({})),
            ("{ __type { name } }", json!({})),
            ("{ mlflowGetRun { a } mlflowDeleteRun { a } }", json!({})),
            (
                "query Q($d: I) { mlflowGetRun(input: $d) { a } }",
                json!({"d": {"runId": 1}}),
            ),
            (
                "query Q($d: I) { mlflowGetRun(input: $d) { a } }",
                json!({"d": {"runId": ["r"]}}),
            ),
            ("query Q($d: I) { mlflowGetRun(input: $d) { a } }", json!({"d": "r"})),
            (
                "query Q($d: I) { mlflowGetRun(input: $d) { a } }",
                json!({"d": [{"runId": "r"}]}),
            ),
            ("{ mlflowGetRun(input: {runId: 1}) { a } }", json!({})),
            ("{ mlflowGetRun(input: {runId: R}) { a } }", json!({})),
            ("{ mlflowGetRun(input: [{runId: \"r\"}]) { a } }", json!({})),
            (
                "query Q($d: I) { mlflowSearchRuns(input: $d) { a } }",
                json!({"d": {"experimentIds": "1"}}),
            ),
            (
                "query Q($d: I) { mlflowSearchRuns(input: $d) { a } }",
                json!({"d": {"experimentIds": [1]}}),
            ),
            ("{ mlflowGetRun { a } }", json!([])),
        ] {
            assert!(
                matches!(needs(query, variables), Err(MlflowError::Malformed(_))),
                "{query}"
            );
        }
        for body in [
            "",
            "[]",
            "{}",
            r#"{"query":1}"#,
            r#"[{"query":"{ a }"}]"#,
            r#"{"query":"{ __typename }","operationName":1}"#,
        ] {
            assert!(understand(body.as_bytes()).is_err(), "{body}");
        }
    }
}
