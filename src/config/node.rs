//! A TOML document as a tree that knows its lines, with the environment laid over it.

use std::ops::Range;

use indexmap::IndexMap;
use toml_edit::{Document, Item, TableLike, Value};

use super::Problem;

/// Variables of this prefix are configuration: `MLGATE__SECTION__KEY`.
const PREFIX: &str = "MLGATE__";

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text(String),
    Bool(bool),
    List(Vec<Node>),
    Table(IndexMap<String, Node>),
    /// A number or a date: no key of ours is one.
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) line: Option<usize>,
    /// The environment variable that this came from: then it is a text, to be read as whatever its key is.
    pub(super) variable: Option<String>,
}

impl Node {
    pub(super) fn table(line: Option<usize>) -> Self {
        Self {
            shape: Shape::Table(IndexMap::new()),
            line,
            variable: None,
        }
    }

    pub(super) fn entries(&self) -> Option<&IndexMap<String, Self>> {
        match &self.shape {
            Shape::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// An empty text is the same as no value at all.
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.shape, Shape::Text(text) if text.is_empty())
    }
}

/// # Errors
/// When the text is not TOML.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let document = Document::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, &span));
        // The message alone: the excerpt that Display adds might show a secret.
        Problem::new(
            "",
            line,
            format!("is not TOML: {}", error.message().replace('\n', "; ")),
        )
    })?;
    Ok(table(text, document.as_table(), Some(1)))
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(span.start)
        .filter(|byte| **byte == b'\n')
        .count()
}

fn table(text: &str, table: &dyn TableLike, line: Option<usize>) -> Node {
    let entries = table
        .iter()
        .map(|(key, value)| {
            let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| value.span());
            (key.to_owned(), item(text, value, span.map(|span| line_of(text, &span))))
        })
        .collect();
    Node {
        shape: Shape::Table(entries),
        line,
        variable: None,
    }
}

fn item(text: &str, found: &Item, line: Option<usize>) -> Node {
    match found {
        Item::None => Node {
            shape: Shape::Other,
            line,
            variable: None,
        },
        Item::Value(found) => value(text, found, line),
        Item::Table(found) => table(text, found, found.span().map(|span| line_of(text, &span)).or(line)),
        Item::ArrayOfTables(found) => {
            let tables = found
                .iter()
                .map(|entry| table(text, entry, entry.span().map(|span| line_of(text, &span)).or(line)))
                .collect();
            Node {
                shape: Shape::List(tables),
                line,
                variable: None,
            }
        }
    }
}

fn value(text: &str, found: &Value, line: Option<usize>) -> Node {
    let shape = match found {
        Value::String(found) => Shape::Text(found.value().clone()),
        Value::Boolean(found) => Shape::Bool(*found.value()),
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => Shape::Other,
        Value::Array(found) => Shape::List(
            found
                .iter()
                .map(|entry| value(text, entry, entry.span().map(|span| line_of(text, &span)).or(line)))
                .collect(),
        ),
        Value::InlineTable(found) => return table(text, found, line),
    };
    Node {
        shape,
        line,
        variable: None,
    }
}

/// Lays the variables over the tree. A number in a name is an index into a list of tables; the next free index adds one.
pub(super) fn overlay(root: &mut Node, mut variables: Vec<(String, String)>, problems: &mut Vec<Problem>) {
    // By name, with 2 before 10, so that indexes are added in order whatever order the environment has.
    variables.sort_by_key(|(name, _)| {
        name.split("__")
            .map(|part| (part.parse::<usize>().unwrap_or(usize::MAX), part.to_owned()))
            .collect::<Vec<_>>()
    });
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let parts: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if let Err(text) = place(root, &parts, &name, value) {
            problems.push(Problem::new(
                parts.join("."),
                None,
                format!("the environment variable {name} {text}"),
            ));
        }
    }
}

fn place(node: &mut Node, parts: &[String], variable: &str, value: String) -> Result<(), String> {
    let Some((part, rest)) = parts.split_first() else {
        if let Some(tables) = tables_in(&value, variable) {
            *node = tables;
            return Ok(());
        }
        *node = Node {
            shape: Shape::Text(value),
            line: None,
            variable: Some(variable.to_owned()),
        };
        return Ok(());
    };
    let is_blank = node.is_blank();
    if let (Shape::List(entries), Ok(index)) = (&mut node.shape, part.parse::<usize>()) {
        let count = entries.len();
        if index == count {
            entries.push(Node::table(None));
        }
        let entry = entries
            .get_mut(index)
            .ok_or_else(|| format!("names entry {index}, but there are {count}: the next one is {count}"))?;
        return place(entry, rest, variable, value);
    }
    match &mut node.shape {
        Shape::Table(entries) => {
            let fresh = || match rest.first().map(|next| next.parse::<usize>()) {
                Some(Ok(_)) => Node {
                    shape: Shape::List(Vec::new()),
                    line: None,
                    variable: None,
                },
                _ => Node::table(None),
            };
            place(entries.entry(part.clone()).or_insert_with(fresh), rest, variable, value)
        }
        _ if is_blank => {
            *node = Node::table(None);
            place(node, parts, variable, value)
        }
        _ => Err(format!("goes into something that has no key `{part}`")),
    }
}

/// A variable that holds an inline table, or a list of them: no text of ours looks like that.
fn tables_in(value: &str, variable: &str) -> Option<Node> {
    fn set_by(node: &mut Node, variable: &str) {
        node.line = None;
        node.variable = Some(variable.to_owned());
        match &mut node.shape {
            Shape::List(entries) => entries.iter_mut().for_each(|entry| set_by(entry, variable)),
            Shape::Table(entries) => entries.values_mut().for_each(|entry| set_by(entry, variable)),
            Shape::Text(_) | Shape::Bool(_) | Shape::Other => {}
        }
    }
    if !value.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let Shape::Table(mut parsed) = parse(&format!("value = {value}")).ok()?.shape else {
        return None;
    };
    // What follows a line break would be keys of their own.
    let mut node = parsed.shift_remove("value").filter(|_| parsed.is_empty())?;
    let are_tables = match &node.shape {
        Shape::Table(_) => true,
        Shape::List(entries) => !entries.is_empty() && entries.iter().all(|entry| entry.entries().is_some()),
        _ => false,
    };
    set_by(&mut node, variable);
    are_tables.then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
        path.iter().fold(node, |node, part| match &node.shape {
            Shape::List(entries) => &entries[part.parse::<usize>().unwrap()],
            _ => &node.entries().unwrap()[*part],
        })
    }

    #[test]
    fn every_node_knows_its_line() {
        let root =
            parse("a = 1\n\n[b]\nc = [\n  'x',\n  'y',\n]\n[b.d]\ne = true\n[[f]]\n[[f]]\ng = { h = 1 }\n").unwrap();
        let lines = |path: &[&str]| at(&root, path).line.unwrap();
        assert_eq!(lines(&["a"]), 1);
        assert_eq!(lines(&["b"]), 3);
        assert_eq!(lines(&["b", "c", "1"]), 6);
        assert_eq!(lines(&["b", "d"]), 8);
        assert_eq!(lines(&["b", "d", "e"]), 9);
        assert_eq!(lines(&["f", "0"]), 10);
        assert_eq!(lines(&["f", "1"]), 11);
        assert_eq!(lines(&["f", "1", "g", "h"]), 12);
    }

    #[test]
    fn a_broken_file_is_named_by_line_and_shows_no_content() {
        let problem = parse("a = 1\nsecret = \"hunter2\nb = 2\n").unwrap_err();
        assert_eq!(problem.line, Some(2));
        assert!(!problem.text.contains("hunter2"), "{problem}");
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let mut root = parse("[listen]\naddress = 'a'\n[[provider]]\nid = 'x'\n").unwrap();
        let mut problems = Vec::new();
        let variables = [
            ("MLGATE__LISTEN__ADDRESS", "b"),
            ("MLGATE__PROVIDER__0__CLIENT_SECRET", "s"),
            ("MLGATE__PROVIDER__1__ID", "y"),
            ("MLGATE__AUDIT__FILE", "f"),
            ("MLGATE_TOKEN", "not ours"),
        ];
        overlay(
            &mut root,
            variables.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
            &mut problems,
        );
        assert!(problems.is_empty(), "{problems:?}");
        let text = |path: &[&str]| match &at(&root, path).shape {
            Shape::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(&["listen", "address"]), "b");
        assert_eq!(text(&["provider", "0", "id"]), "x");
        assert_eq!(text(&["provider", "0", "client_secret"]), "s");
        assert_eq!(text(&["provider", "1", "id"]), "y");
        assert_eq!(text(&["audit", "file"]), "f");
        assert!(root.entries().unwrap().len() == 3);
    }

    #[test]
    fn a_variable_for_an_entry_far_away_is_a_problem() {
        let mut root = parse("[[provider]]\nid = 'x'\n").unwrap();
        let mut problems = Vec::new();
        overlay(
            &mut root,
            vec![("MLGATE__PROVIDER__7__ID".into(), "y".into())],
            &mut problems,
        );
        assert!(problems[0].text.contains("there are 1"), "{problems:?}");
    }
}
