//! Reads typed values out of the tree and records every problem on the way, instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::domain::Secret;

use super::node::{Node, Shape};
use super::{Problem, files};

/// What all sections of one reading share.
pub(super) struct Reading {
    /// Relative paths start here.
    pub(super) directory: PathBuf,
    problems: RefCell<Vec<Problem>>,
    /// What may be meant, and rarely is.
    warnings: RefCell<Vec<Problem>>,
    /// Files that the configuration names.
    watched: RefCell<BTreeSet<PathBuf>>,
    /// Every key that was asked for, indexes left out: what the documentation must list.
    known: RefCell<BTreeSet<String>>,
}

impl Reading {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            watched: RefCell::default(),
            known: RefCell::default(),
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn watch(&self, file: &Path) {
        self.watched.borrow_mut().insert(file.to_owned());
    }

    pub(super) fn warnings(&self) -> Vec<Problem> {
        self.warnings.borrow().clone()
    }

    pub(super) fn know(&self, keys: impl IntoIterator<Item = String>) {
        self.known.borrow_mut().extend(keys);
    }

    /// Problems in the order of the file, then those of the environment.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<PathBuf>, BTreeSet<String>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.file.is_some(), problem.line.unwrap_or(usize::MAX)));
        problems.dedup();
        (
            problems,
            self.watched.into_inner().into_iter().collect(),
            self.known.into_inner(),
        )
    }
}

/// One table: `[audit]`, a `[[provider]]`, or the whole file. A missing one reads as empty, so that defaults apply.
pub(super) struct Section<'a> {
    pub(super) reading: &'a Reading,
    node: Option<&'a Node>,
    path: String,
    line: Option<usize>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(reading: &'a Reading, node: &'a Node) -> Self {
        Self::at(reading, Some(node), String::new())
    }

    fn at(reading: &'a Reading, node: Option<&'a Node>, path: String) -> Self {
        let line = node.and_then(|node| node.line);
        if let Some(node) = node
            && node.entries().is_none()
        {
            let text = format!("must be a table: write [{path}] on a line of its own, its keys below");
            reading.report(Problem::new(path.clone(), line, text));
        }
        Self {
            reading,
            node: node.filter(|node| node.entries().is_some()),
            path,
            line,
            asked: RefCell::default(),
        }
    }

    /// Whether the file or the environment has this section at all.
    pub(super) fn is_present(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Marks the key as known. `None` for a missing one; an empty text counts as missing.
    pub(super) fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(key);
        let path = without_indexes(&self.path(key));
        self.reading.known.borrow_mut().insert(path);
        self.node?.entries()?.get(key).filter(|node| !node.is_blank())
    }

    /// A problem with a key, at its line, or at the section's where the key is not there.
    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        self.reading.report(self.about(key, text));
    }

    /// Likewise, of what is no reason not to start.
    pub(super) fn warn(&self, key: &str, text: impl Into<String>) {
        self.reading.warnings.borrow_mut().push(self.about(key, text));
    }

    fn about(&self, key: &str, text: impl Into<String>) -> Problem {
        let node = self.node.and_then(|node| node.entries()?.get(key));
        let line = node.map_or(self.line, |node| node.line);
        let text = match node.and_then(|node| node.variable.as_deref()) {
            Some(variable) => format!("{} (set by {variable})", text.into()),
            None => text.into(),
        };
        Problem::new(self.path(key), line, text)
    }

    pub(super) fn value<T>(&self, key: &'static str, parse: impl FnOnce(&Node) -> Result<T, String>) -> Option<T> {
        match parse(self.node(key)?) {
            Ok(value) => Some(value),
            Err(text) => {
                self.problem(key, text);
                None
            }
        }
    }

    pub(super) fn required<T>(&self, key: &'static str, parse: impl FnOnce(&Node) -> Result<T, String>) -> Option<T> {
        if self.node(key).is_none() {
            self.problem(key, "is missing");
        }
        self.value(key, parse)
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        if self.node(key).is_none() {
            return choices.first().map(|(_, value)| *value);
        }
        self.value(key, |node| {
            let word = super::value::text(node)?;
            choices
                .iter()
                .find(|(choice, _)| *choice == word)
                .map(|(_, value)| *value)
                .ok_or_else(|| {
                    let words: Vec<_> = choices.iter().map(|(choice, _)| format!("\"{choice}\"")).collect();
                    format!("must be {}, not {word:?}", words.join(" or "))
                })
        })
    }

    /// A list, each entry with its own problem. One text alone stands for a list of one; a variable holds a TOML list, or texts with commas.
    pub(super) fn list<T>(&self, key: &'static str, parse: impl Fn(&Node) -> Result<T, String>) -> Option<Vec<T>> {
        let node = self.node(key)?;
        let made;
        let entries = match &node.shape {
            Shape::List(entries) => entries.as_slice(),
            Shape::Text(text) => {
                made = listed(text, node);
                made.as_slice()
            }
            _ => {
                self.problem(key, "must be a list of texts");
                return None;
            }
        };
        let mut values = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match parse(entry) {
                Ok(value) => values.push(value),
                Err(text) => {
                    let path = format!("{}[{index}]", self.path(key));
                    self.reading.report(Problem::new(path, entry.line, text));
                }
            }
        }
        Some(values)
    }

    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        Section::at(self.reading, self.node(key), self.path(key))
    }

    /// The tables of `[[key]]`, or of a list of inline tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        match self.node(key).map(|node| &node.shape) {
            None => Vec::new(),
            Some(Shape::List(entries)) => entries
                .iter()
                .enumerate()
                .map(|(index, node)| Section::at(self.reading, Some(node), format!("{}[{index}]", self.path(key))))
                .collect(),
            Some(_) => {
                let path = self.path(key);
                self.problem(key, format!("must be a list of tables: write [[{path}]]"));
                Vec::new()
            }
        }
    }

    /// A file that must be there and readable. It is watched from now on.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        let path = self.path_of(key)?;
        self.reading.watch(&path);
        match files::check_readable(&path) {
            Ok(()) => Some(path),
            Err(text) => {
                self.problem(key, text);
                None
            }
        }
    }

    /// A path, relative to the file; nothing need stand there.
    pub(super) fn path_of(&self, key: &'static str) -> Option<PathBuf> {
        self.value(key, super::value::text)
            .map(|path| self.reading.directory.join(path))
    }

    /// A file, of which a check of the caller's must be content. It is watched either way.
    pub(super) fn checked_file(
        &self,
        key: &'static str,
        check: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Option<PathBuf> {
        let path = self.file(key)?;
        match check(&path) {
            Ok(()) => Some(path),
            Err(text) => {
                self.problem(key, text);
                None
            }
        }
    }

    /// A secret, as a value or in a file of its own: never both. Names no secret in its problems.
    pub(super) fn secret(&self, key: &'static str, file_key: &'static str) -> Option<Secret> {
        let value = self.value(key, |node| match &node.shape {
            Shape::Text(text) => Ok(Secret::new(text.clone())),
            _ => Err("must be a text".to_owned()),
        });
        let in_file = self.path_of(file_key);
        match (value, in_file) {
            (Some(_), Some(_)) => {
                self.problem(file_key, format!("is given beside {key}: keep one of the two"));
                None
            }
            (value, None) => value,
            (None, Some(path)) => {
                self.reading.watch(&path);
                match files::secret_text(&path) {
                    Ok(secret) => Some(secret),
                    Err(text) => {
                        self.problem(file_key, text);
                        None
                    }
                }
            }
        }
    }

    /// To be called last: whatever nobody asked for is unknown.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, node) in self.node.and_then(Node::entries).into_iter().flatten() {
            if asked.contains(key.as_str()) {
                continue;
            }
            let mut text = "is no key that the gateway knows".to_owned();
            if let Some(near) = nearest(key, &asked) {
                text.push_str(&format!("; did you mean `{near}`?"));
            }
            if node.variable.is_some() || node.line.is_none() {
                text.push_str(" (set by the environment)");
            }
            // A key in quotes can be anything; it must not play tricks on a terminal.
            self.reading.report(Problem::new(
                self.path(&key.escape_debug().to_string()),
                node.line,
                text,
            ));
        }
    }
}

fn listed(text: &str, node: &Node) -> Vec<Node> {
    let entry = |text: &str| Node {
        shape: Shape::Text(text.to_owned()),
        ..node.clone()
    };
    if node.variable.is_none() {
        return vec![entry(text)];
    }
    if text.starts_with('[')
        && let Ok(parsed) = super::node::parse(&format!("list = {text}"))
        && let Some(Shape::List(entries)) = parsed.entries().and_then(|all| all.get("list")).map(|list| &list.shape)
    {
        return entries
            .iter()
            .map(|found| Node {
                line: None,
                variable: node.variable.clone(),
                ..found.clone()
            })
            .collect();
    }
    text.split(',').map(|part| entry(part.trim())).collect()
}

/// `provider[1].issuer` as `provider[].issuer`.
fn without_indexes(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = (inside || *c == '[') && *c != ']';
            !(inside && *c != '[')
        })
        .collect()
}

/// The known key that a typing slip may have meant.
fn nearest(key: &str, known: &BTreeSet<&'static str>) -> Option<&'static str> {
    known
        .iter()
        .map(|word| (distance(key, word), *word))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.chars().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_left_out_of_known_keys() {
        assert_eq!(
            without_indexes("role[12].grants[0].permission"),
            "role[].grants[].permission"
        );
        assert_eq!(without_indexes("public_url"), "public_url");
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = BTreeSet::from(["issuer", "client_id", "label"]);
        assert_eq!(nearest("isuer", &known), Some("issuer"));
        assert_eq!(nearest("clientid", &known), Some("client_id"));
        assert_eq!(nearest("colour", &known), None);
    }
}
