//! The rules of a role, found by what a resource is called: a decision costs the same with ten grants and with ten thousand.

use std::collections::HashMap;

use crate::domain::{Glob, Kind, Resource, Target};

use super::grants::{Pattern, Rule};

/// In the order of the configuration, with the way to those that could be about a resource.
#[derive(Debug)]
pub(super) struct Rules {
    all: Vec<Rule>,
    by_kind: [Places; Kind::ALL.len()],
}

/// Where the rules of one kind stand among all. Each is in one of the first six; `whole` names some of them again.
#[derive(Debug, Default)]
struct Places {
    anything: Vec<usize>,
    names: HashMap<Box<str>, Vec<usize>>,
    ids: HashMap<Box<str>, Vec<usize>>,
    starts: Ends,
    ends: Ends,
    /// What only the pattern itself can tell.
    others: Vec<usize>,
    /// What is about all of the kind, and about an id that is not there: a bare star, and every DENY.
    whole: Vec<usize>,
}

/// Rules by the letters that a name has to start with, or to end with.
#[derive(Debug, Default)]
struct Ends {
    /// In bytes, each once.
    lengths: Vec<usize>,
    rules: HashMap<Box<str>, Vec<usize>>,
}

impl Rules {
    pub(super) fn new(all: Vec<Rule>) -> Self {
        let mut by_kind: [Places; Kind::ALL.len()] = Default::default();
        for (place, rule) in all.iter().enumerate() {
            by_kind[rule.kind as usize].add(place, rule);
        }
        Self { all, by_kind }
    }

    pub(super) fn all(&self) -> &[Rule] {
        &self.all
    }

    /// Those that are about a resource, in no order.
    pub(super) fn about<'a>(&'a self, resource: &'a Resource) -> impl Iterator<Item = &'a Rule> {
        let places = &self.by_kind[resource.kind as usize];
        let (one, whole) = match &resource.target {
            Target::One { id, name } => (Some(places.near(id.as_deref(), name.as_deref())), &[][..]),
            Target::Unknown { .. } | Target::Every => (None, &places.whole[..]),
        };
        let near = one.into_iter().flatten().chain(whole);
        near.filter_map(|place| self.all.get(*place))
            .filter(|rule| rule.is_about(resource))
    }
}

impl Places {
    fn add(&mut self, place: usize, rule: &Rule) {
        if rule.permission.is_none() || rule.pattern == Pattern::Anything {
            self.whole.push(place);
        }
        match &rule.pattern {
            Pattern::Anything => self.anything.push(place),
            Pattern::Name(Glob::Exact(name)) => self.names.entry(name.clone()).or_default().push(place),
            Pattern::Id(Glob::Exact(id)) => self.ids.entry(id.clone()).or_default().push(place),
            Pattern::Name(Glob::Pieces(pieces)) => match (pieces.first(), pieces.last()) {
                (Some(start), _) if !start.is_empty() => self.starts.add(start, place),
                (_, Some(end)) if !end.is_empty() => self.ends.add(end, place),
                _ => self.others.push(place),
            },
            Pattern::Id(Glob::Pieces(_)) => self.others.push(place),
        }
    }

    /// All that could be about one thing of this id and name.
    fn near<'a>(&'a self, id: Option<&'a str>, name: Option<&'a str>) -> impl Iterator<Item = &'a usize> {
        let called = name.into_iter().flat_map(|name| {
            let starts = self.starts.of(move |length| name.get(..length));
            let ends = self.ends.of(move |length| name.get(name.len().checked_sub(length)?..));
            self.names.get(name).into_iter().flatten().chain(starts).chain(ends)
        });
        let numbered = id.and_then(|id| self.ids.get(id)).into_iter().flatten();
        self.anything.iter().chain(&self.others).chain(called).chain(numbered)
    }
}

impl Ends {
    fn add(&mut self, letters: &str, place: usize) {
        if !self.lengths.contains(&letters.len()) {
            self.lengths.push(letters.len());
        }
        self.rules.entry(letters.into()).or_default().push(place);
    }

    /// `end` cuts so many bytes off a name, where it has them.
    fn of<'a>(&'a self, end: impl Fn(usize) -> Option<&'a str>) -> impl Iterator<Item = &'a usize> {
        let found = self
            .lengths
            .iter()
            .filter_map(move |length| self.rules.get(end(*length)?));
        found.flatten()
    }
}
