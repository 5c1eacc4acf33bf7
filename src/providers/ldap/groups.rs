//! The groups of a person, the groups of those groups, and Active Directory's primary group, which lists nobody.

use std::collections::{BTreeSet, HashSet};

use ldap3::Scope;

use super::directory::{Directory, Most, Question, search};
use super::entry::{Entry, sibling_sid};
use super::filter;
use super::wire::Link;
use crate::config::{LdapProvider, LdapSchema, NestedGroups};
use crate::providers::ProviderError;

/// Whoever is in more is refused: to leave some out could leave out one that denies.
const MOST: usize = 2000;
/// Groups in groups in groups: more is no organisation.
const DEEPEST: usize = 32;
/// Groups that one question asks about.
const AT_ONCE: usize = 40;

/// As whom the directory is asked.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    Gateway(&'a Directory),
    /// Over the connection that a person has bound.
    Person(&'a Link),
}

impl Asker<'_> {
    pub(super) async fn ask(self, question: Question<'_>) -> Result<Vec<Entry>, ProviderError> {
        match self {
            Self::Gateway(directory) => directory.search(question).await,
            Self::Person(link) => Ok(search(link, question).await?),
        }
    }
}

/// The names of all groups, sorted, each once. `name` is the user name that the directory gives.
pub(super) async fn of_person(
    asker: Asker<'_>,
    config: &LdapProvider,
    person: &Entry,
    name: &str,
) -> Result<Vec<String>, ProviderError> {
    let mut found = Found::new(config, asker);
    let chained = filter::in_chain(&config.group_filter);
    let template = match config.nested_groups {
        NestedGroups::ActiveDirectory => &chained,
        NestedGroups::Off | NestedGroups::Recursive => &config.group_filter,
    };
    let mut edge = found.look(&filter::of_member(template, &person.dn, name)).await?;
    if let Some(sid) = primary_group(config, person) {
        let primary = found.look(&filter::of_bytes("objectSid", &sid)).await?;
        if config.nested_groups == NestedGroups::ActiveDirectory {
            for dn in &primary {
                found
                    .look(&filter::of_members(template, std::slice::from_ref(dn)))
                    .await?;
            }
        }
        edge.extend(primary);
    }
    if config.nested_groups == NestedGroups::Recursive {
        found.climb(edge).await?;
    }
    Ok(found.names.into_iter().collect())
}

/// The SID of the group that `primaryGroupID` means.
fn primary_group(config: &LdapProvider, person: &Entry) -> Option<Vec<u8>> {
    if config.schema != LdapSchema::ActiveDirectory {
        return None;
    }
    let id = u32::try_from(person.number("primaryGroupID")?).ok()?;
    sibling_sid(person.bytes("objectSid")?, id)
}

struct Found<'a> {
    config: &'a LdapProvider,
    asker: Asker<'a>,
    /// DNs in lower case: what was seen is not gone through again, so that circles end.
    seen: HashSet<String>,
    names: BTreeSet<String>,
}

impl<'a> Found<'a> {
    fn new(config: &'a LdapProvider, asker: Asker<'a>) -> Self {
        Self {
            config,
            asker,
            seen: HashSet::new(),
            names: BTreeSet::new(),
        }
    }

    /// Takes in the groups that a filter finds; the DNs of those that are new.
    async fn look(&mut self, filter: &str) -> Result<Vec<String>, ProviderError> {
        let by_dn = self.config.group_name.eq_ignore_ascii_case("dn");
        let attribute = if by_dn { "1.1" } else { self.config.group_name.as_str() };
        let question = Question {
            base: &self.config.group_base,
            scope: Scope::Subtree,
            filter,
            attributes: &[attribute],
            most: Most::All(MOST),
        };
        let mut fresh = Vec::new();
        for group in self.asker.ask(question).await? {
            if !self.seen.insert(group.dn.to_lowercase()) {
                continue;
            }
            match by_dn {
                true => self.names.extend([group.dn.clone()]),
                false => self.names.extend(group.texts(attribute).map(str::to_owned)),
            }
            fresh.push(group.dn);
        }
        match self.seen.len() > MOST {
            true => Err(ProviderError::Refused(format!(
                "the person is in more than {MOST} groups"
            ))),
            false => Ok(fresh),
        }
    }

    /// The groups of groups, level by level, until there are no new ones.
    async fn climb(&mut self, mut edge: Vec<String>) -> Result<(), ProviderError> {
        for _ in 0..DEEPEST {
            if edge.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            for some in edge.chunks(AT_ONCE) {
                next.extend(self.look(&filter::of_members(&self.config.group_filter, some)).await?);
            }
            edge = next;
        }
        Err(ProviderError::Refused(format!(
            "groups are nested more than {DEEPEST} deep"
        )))
    }
}
