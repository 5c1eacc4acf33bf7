//! A GraphQL document, read within narrow bounds, and printed again: MLflow's parser gets the one spelling that ours understood.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use graphql_parser::query::{
    Definition, Document as Ast, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, Value,
    VariableDefinition, parse_query,
};

use crate::mlflow::MlflowError;

/// MLflow's own bounds (`graphql_no_batching.py`), and ours on what it does not bound.
const LONGEST: usize = 64 * 1024;
const NESTING: usize = 32;
const ROOT_FIELDS: usize = 10;
const DEPTH: usize = 10;
const SELECTIONS: usize = 1000;

/// The field whose rows may belong to others than the run that they hang from.
const MODEL_VERSIONS: &str = "modelVersions";

/// A field of an operation's root, with the one argument that MLflow's fields have.
#[derive(Debug)]
pub(super) struct RootField {
    pub(super) name: String,
    pub(super) input: Value<'static, String>,
    /// Default values of its operation's variables.
    pub(super) defaults: Arc<BTreeMap<String, Value<'static, String>>>,
}

#[derive(Debug)]
pub(super) struct Reading {
    /// Of all operations: which of them MLflow runs is for MLflow to say.
    pub(super) roots: Vec<RootField>,
    /// Whether the token of a next page is asked for anywhere.
    pub(super) asks_for_pages: bool,
    /// The keys under which the answer holds model versions. Each of these says its model's `name`, and nothing else
    /// in the answer has such a key.
    pub(super) version_keys: HashSet<String>,
    /// What is sent.
    pub(super) text: String,
}

/// # Errors
/// `Malformed` for everything but operations within the bounds.
pub(super) fn read(text: &str) -> Result<Reading, MlflowError> {
    check_nesting(text)?;
    let mut document: Ast<'_, String> = parse_query(text).map_err(|_| refuse("the document cannot be parsed"))?;
    for definition in &mut document.definitions {
        let set = match definition {
            Definition::Fragment(fragment) => &mut fragment.selection_set,
            Definition::Operation(operation) => selections_mut(operation)?,
        };
        name_versions(set);
    }
    let mut fragments = HashMap::new();
    let mut operations = Vec::new();
    for definition in &document.definitions {
        match definition {
            Definition::Fragment(fragment) => {
                if fragments.insert(fragment.name.as_str(), fragment).is_some() {
                    return Err(refuse("two fragments have one name"));
                }
            }
            Definition::Operation(operation) => operations.push(operation),
        }
    }
    if operations.is_empty() {
        return Err(refuse("the document holds no operation"));
    }
    let mut walk = Walk {
        fragments,
        defaults: Arc::default(),
        selections: 0,
        roots: Vec::new(),
        asks_for_pages: false,
        version_keys: HashSet::new(),
        other_keys: HashSet::new(),
    };
    for operation in operations {
        let (variables, set): (&[VariableDefinition<'_, String>], _) = match operation {
            OperationDefinition::SelectionSet(set) => (&[], set),
            OperationDefinition::Query(query) => (&query.variable_definitions, &query.selection_set),
            OperationDefinition::Mutation(mutation) => (&mutation.variable_definitions, &mutation.selection_set),
            OperationDefinition::Subscription(_) => return Err(refuse("MLflow has no subscriptions")),
        };
        let defaults = variables
            .iter()
            .filter_map(|variable| Some((variable.name.clone(), variable.default_value.as_ref()?.into_static())))
            .collect();
        walk.defaults = Arc::new(defaults);
        walk.visit(set, 1, 1)?;
    }
    if !walk.version_keys.is_disjoint(&walk.other_keys) {
        return Err(refuse(
            "a name that modelVersions goes by is used for another field too",
        ));
    }
    let (roots, asks_for_pages, version_keys) = (walk.roots, walk.asks_for_pages, walk.version_keys);
    check_values(&document)?;
    Ok(Reading {
        roots,
        asks_for_pages,
        version_keys,
        text: document.to_string(),
    })
}

/// The parser recurses; this does not.
fn check_nesting(text: &str) -> Result<(), MlflowError> {
    if text.len() > LONGEST {
        return Err(refuse("the document is too long"));
    }
    let mut open = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > NESTING {
            return Err(refuse("the document is nested too deeply"));
        }
    }
    Ok(())
}

fn selections_mut<'a, 'b>(
    operation: &'b mut OperationDefinition<'a, String>,
) -> Result<&'b mut SelectionSet<'a, String>, MlflowError> {
    match operation {
        OperationDefinition::SelectionSet(set) => Ok(set),
        OperationDefinition::Query(query) => Ok(&mut query.selection_set),
        OperationDefinition::Mutation(mutation) => Ok(&mut mutation.selection_set),
        OperationDefinition::Subscription(_) => Err(refuse("MLflow has no subscriptions")),
    }
}

/// Asks for the name of each model version, so that the answer can be cut by it.
fn name_versions(set: &mut SelectionSet<'_, String>) {
    for selection in &mut set.items {
        match selection {
            Selection::Field(field) => {
                name_versions(&mut field.selection_set);
                if field.name == MODEL_VERSIONS {
                    let name = Field {
                        position: field.position,
                        alias: None,
                        name: "name".to_owned(),
                        arguments: Vec::new(),
                        directives: Vec::new(),
                        selection_set: SelectionSet {
                            span: field.selection_set.span,
                            items: Vec::new(),
                        },
                    };
                    field.selection_set.items.push(Selection::Field(name));
                }
            }
            Selection::InlineFragment(inline) => name_versions(&mut inline.selection_set),
            Selection::FragmentSpread(_) => {}
        }
    }
}

struct Walk<'d, 'a> {
    fragments: HashMap<&'d str, &'d FragmentDefinition<'a, String>>,
    defaults: Arc<BTreeMap<String, Value<'static, String>>>,
    selections: usize,
    roots: Vec<RootField>,
    asks_for_pages: bool,
    version_keys: HashSet<String>,
    other_keys: HashSet<String>,
}

impl Walk<'_, '_> {
    /// `depth` counts fields as MLflow does, `nesting` fragments too: that ends circles.
    fn visit(&mut self, set: &SelectionSet<'_, String>, depth: usize, nesting: usize) -> Result<(), MlflowError> {
        if depth > DEPTH || nesting > NESTING {
            return Err(refuse("the document is nested too deeply"));
        }
        for selection in &set.items {
            self.selections += 1;
            if self.selections > SELECTIONS {
                return Err(refuse("the document selects too much"));
            }
            match selection {
                Selection::Field(field) => {
                    self.field(field, depth)?;
                    self.visit(&field.selection_set, depth + 1, nesting + 1)?;
                }
                Selection::InlineFragment(inline) => self.visit(&inline.selection_set, depth, nesting + 1)?,
                Selection::FragmentSpread(spread) => {
                    let fragment = *self
                        .fragments
                        .get(spread.fragment_name.as_str())
                        .ok_or_else(|| refuse("a fragment is not there"))?;
                    self.visit(&fragment.selection_set, depth, nesting + 1)?;
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field<'_, String>, depth: usize) -> Result<(), MlflowError> {
        let key = field.alias.as_ref().unwrap_or(&field.name);
        if key == "name" && field.name != "name" {
            return Err(refuse("'name' must not stand for another field"));
        }
        if field.name == MODEL_VERSIONS {
            self.version_keys.insert(key.clone());
        } else {
            self.other_keys.insert(key.clone());
        }
        self.asks_for_pages |= field.name == "nextPageToken";
        if depth > 1 {
            return match field.arguments.is_empty() {
                true => Ok(()),
                false => Err(refuse("only fields of the root take arguments")),
            };
        }
        let input = match field.arguments.as_slice() {
            [] => Value::Null,
            [(name, value)] if name == "input" => value.into_static(),
            _ => return Err(refuse("a root field takes the argument 'input' alone")),
        };
        if self.roots.len() == ROOT_FIELDS {
            return Err(refuse("the document has too many root fields"));
        }
        self.roots.push(RootField {
            name: field.name.clone(),
            input,
            defaults: self.defaults.clone(),
        });
        Ok(())
    }
}

/// Literals that could be printed as something else do not pass; they can come as variables.
fn check_values(document: &Ast<'_, String>) -> Result<(), MlflowError> {
    let (mut sets, mut values) = (Vec::new(), Vec::new());
    for definition in &document.definitions {
        let (set, directives) = match definition {
            Definition::Fragment(fragment) => (&fragment.selection_set, fragment.directives.as_slice()),
            Definition::Operation(OperationDefinition::SelectionSet(set)) => (set, &[][..]),
            Definition::Operation(OperationDefinition::Query(query)) => {
                values.extend(
                    query
                        .variable_definitions
                        .iter()
                        .filter_map(|one| one.default_value.as_ref()),
                );
                (&query.selection_set, query.directives.as_slice())
            }
            Definition::Operation(OperationDefinition::Mutation(mutation)) => {
                values.extend(
                    mutation
                        .variable_definitions
                        .iter()
                        .filter_map(|one| one.default_value.as_ref()),
                );
                (&mutation.selection_set, mutation.directives.as_slice())
            }
            Definition::Operation(OperationDefinition::Subscription(one)) => {
                (&one.selection_set, one.directives.as_slice())
            }
        };
        sets.push(set);
        values.extend(directives.iter().flat_map(|one| &one.arguments).map(|(_, value)| value));
    }
    while let Some(set) = sets.pop() {
        for selection in &set.items {
            let directives = match selection {
                Selection::Field(field) => {
                    sets.push(&field.selection_set);
                    values.extend(field.arguments.iter().map(|(_, value)| value));
                    &field.directives
                }
                Selection::InlineFragment(inline) => {
                    sets.push(&inline.selection_set);
                    &inline.directives
                }
                Selection::FragmentSpread(spread) => &spread.directives,
            };
            values.extend(directives.iter().flat_map(|one| &one.arguments).map(|(_, value)| value));
        }
    }
    while let Some(value) = values.pop() {
        match value {
            Value::List(list) => values.extend(list),
            Value::Object(map) => values.extend(map.values()),
            Value::Float(_) => return Err(refuse("a fraction must come as a variable")),
            Value::String(text)
                if !text
                    .chars()
                    .all(|letter| matches!(letter, ' '..='~' | '\u{a0}'..='\u{ffff}')) =>
            {
                return Err(refuse("a text with control characters must come as a variable"));
            }
            Value::String(_)
            | Value::Variable(_)
            | Value::Int(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Enum(_) => {}
        }
    }
    Ok(())
}

pub(super) fn refuse(why: &str) -> MlflowError {
    MlflowError::Malformed(format!("GraphQL: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) {
        assert!(matches!(read(text), Err(MlflowError::Malformed(_))), "{text}");
    }

    #[test]
    fn what_is_printed_reads_the_same_again() {
        let text = r#"query A($data: In!, $n: [String!] = ["x"]) @component(name: "C\"\\.é") {
            a: mlflowGetRun(input: {runId: "r", list: [1, -2, true, null, ENUM, $n]}) { __typename run { ...F } }
        }
        fragment F on MlflowRunExtension { versions: modelVersions @include(if: $n) { version } ... on X { info { runId } } }"#;
        let once = read(text).unwrap();
        let twice = read(&once.text).unwrap();
        assert_eq!(once.version_keys, HashSet::from(["versions".to_owned()]));
        assert!(once.text.contains("name\n"), "{}", once.text);
        assert_eq!(once.roots.len(), 1);
        assert_eq!(format!("{:?}", once.roots), format!("{:?}", twice.roots));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_not_passed_on() {
        // A carriage return ends a comment for some readers and not for others.
        let read = read("{ mlflowGetRun(input: $a) { __typename } } # \r { mlflowSearchModelVersions { x } }");
        assert!(read.is_err() || !read.unwrap().text.contains('#'));
        refused("{ mlflowGetRun(input: {runId: \"\"\"a\nb\"\"\"}) { x } }");
        refused("{ mlflowGetRun(input: {runId: \"\\u0010\"}) { x } }");
        refused("{ mlflowGetRun(input: {x: 1e999}) { x } }");
    }

    #[test]
    fn more_than_the_bounds_is_refused() {
        refused("");
        refused("{");
        refused(&"{".repeat(100_000));
        refused(&"{a".repeat(60));
        refused(&format!("{{ a(input: {}) }}", "[".repeat(40)));
        refused(&format!("{{ mlflowGetRun {{ {} }} }}", "a ".repeat(1001)));
        refused(&format!("{{ {} }}", "mlflowGetRun ".repeat(11)));
        refused(&format!("{{ {}{} }}", "a{".repeat(10), "}".repeat(10)));
        refused("subscription { mlflowGetRun }");
        refused("{ mlflowGetRun { ...F } } fragment F on X { ...F }");
        refused("{ mlflowGetRun { ...F } } fragment F on X { ...G } fragment G on X { ...F }");
        refused("{ mlflowGetRun { ...F } }");
        refused("{ mlflowGetRun { ...F } } fragment F on X { a } fragment F on X { b }");
        // Each fragment twice the one before: 2^20 selections.
        let mut bomb = "{ mlflowGetRun { ...F0 } } ".to_owned();
        for index in 0..20 {
            bomb.push_str(&format!("fragment F{index} on X {{ ...F{0} ...F{0} }} ", index + 1));
        }
        bomb.push_str("fragment F20 on X { a }");
        refused(&bomb);
    }

    #[test]
    fn the_name_of_a_version_cannot_be_faked() {
        refused("{ mlflowGetRun { run { modelVersions { name: description } } } }");
        refused("{ mlflowGetRun { run { experiment: modelVersions { version } experiment { name } } } }");
        refused("{ mlflowGetRun { run { info { modelVersions: runId } modelVersions { name } } } }");
        assert!(read("{ mlflowGetRun { run { modelVersions { name version } } } }").is_ok());
    }

    #[test]
    fn arguments_stand_at_the_root_alone_and_are_called_input() {
        refused("{ mlflowGetRun(inputs: {}) { a } }");
        refused("{ mlflowGetRun(input: {}, input: {}) { a } }");
        refused("{ mlflowGetRun(input: {}) { a(x: 1) } }");
    }
}
