//! The table as a tree of segments, so that finding a row costs a few look-ups.

use std::collections::HashMap;

use super::{Row, Verb, Version, rows};

/// A row and the values of its path's `{name}`s, in order.
#[derive(Clone, Debug)]
pub struct Found {
    pub row: &'static Row,
    pub values: Vec<(&'static str, String)>,
}

impl Found {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<&'static str, Node>,
    /// `{name}` with what stands before and after it in its segment; the longest first.
    part: Vec<(Part, Node)>,
    /// `{name...}`.
    rest: Vec<(&'static str, &'static Row)>,
    rows: Vec<&'static Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    before: &'static str,
    name: &'static str,
    after: &'static str,
}

impl Part {
    fn of(segment: &'static str) -> Option<Self> {
        let (before, rest) = segment.split_once('{')?;
        let (name, after) = rest.split_once('}')?;
        Some(Self { before, name, after })
    }

    fn value<'a>(&self, segment: &'a str) -> Option<&'a str> {
        segment
            .strip_prefix(self.before)?
            .strip_suffix(self.after)
            .filter(|value| !value.is_empty())
    }
}

/// All rows, ready to be found.
#[derive(Debug)]
pub struct Routes {
    root: Node,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    pub fn new() -> Self {
        let mut root = Node::default();
        for row in rows() {
            for prefix in row.base.prefixes() {
                let mut node = &mut root;
                let segments = prefix.split('/').skip(1).chain(row.path.split('/'));
                for segment in segments {
                    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix("...}")) {
                        node.rest.push((name, row));
                        break;
                    }
                    node = node.child(segment);
                }
                if !row.path.ends_with("...}") {
                    node.rows.push(row);
                }
            }
        }
        Self { root }
    }

    /// The row of a method and of decoded segments, in a version.
    pub fn find(&self, method: Verb, segments: &[String], version: Version) -> Option<Found> {
        let mut values = Vec::new();
        let row = self.root.find(method, segments, version, &mut values)?;
        Some(Found { row, values })
    }
}

impl Node {
    fn child(&mut self, segment: &'static str) -> &mut Self {
        let Some(part) = Part::of(segment) else {
            return self.literal.entry(segment).or_default();
        };
        let at = self
            .part
            .iter()
            .position(|(known, _)| known.before == part.before && known.after == part.after && known.name == part.name);
        let at = at.unwrap_or_else(|| {
            self.part.push((part, Self::default()));
            self.part
                .sort_by_key(|(part, _)| std::cmp::Reverse(part.before.len() + part.after.len()));
            self.part
                .iter()
                .position(|(known, _)| *known == part)
                .unwrap_or_default()
        });
        &mut self.part[at].1
    }

    fn find(
        &self,
        method: Verb,
        segments: &[String],
        version: Version,
        values: &mut Vec<(&'static str, String)>,
    ) -> Option<&'static Row> {
        let fits = |row: &&'static Row| row.method == method && row.holds_in(version);
        let Some((segment, after)) = segments.split_first() else {
            return self.rows.iter().copied().find(fits);
        };
        let literal = self
            .literal
            .get(segment.as_str())
            .and_then(|node| node.find(method, after, version, values));
        if literal.is_some() {
            return literal;
        }
        let depth = values.len();
        for (part, node) in &self.part {
            if let Some(value) = part.value(segment) {
                values.push((part.name, value.to_owned()));
                if let Some(row) = node.find(method, after, version, values) {
                    return Some(row);
                }
                values.truncate(depth);
            }
        }
        let (name, row) = self.rest.iter().find(|(_, row)| fits(row))?;
        // A trailing slash, or nothing at all, is no path of its own.
        if segments.iter().any(String::is_empty) {
            return None;
        }
        values.push((name, segments.join("/")));
        Some(row)
    }
}
