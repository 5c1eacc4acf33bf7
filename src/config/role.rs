//! `[[role]]`: named grants, and who has them.

use std::collections::BTreeSet;

use crate::domain::{Glob, Kind, Permission};

use super::node::{Node, Shape};
use super::reader::Section;
use super::value;

#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// `provider:group`; `*:group` for any provider.
    pub groups: Vec<String>,
    /// `provider:user`.
    pub users: Vec<String>,
    /// Names of upstreams; empty: all.
    pub upstreams: Vec<String>,
    /// Workspaces of MLflow in which the grants hold; empty: all.
    pub workspaces: Vec<Glob>,
    pub grants: Vec<Grant>,
    /// Whether who has it may sign terminals in by a code: `device_flow = "on"`.
    pub device_flow: bool,
}

/// One line of a role: a permission, or DENY, on patterns of each kind.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `None` is DENY.
    pub permission: Option<Permission>,
    /// Whole names with `*` for any run of characters, or `id:…`.
    pub patterns: Vec<(Kind, Vec<String>)>,
}

/// Their grants are fixed; a `[[role]]` of such a name only says who has it.
const BUILT_IN: [&str; 4] = ["viewer", "editor", "manager", "admin"];

const PERMISSIONS: [(&str, Option<Permission>); 5] = [
    ("READ", Some(Permission::Read)),
    ("USE", Some(Permission::Use)),
    ("EDIT", Some(Permission::Edit)),
    ("MANAGE", Some(Permission::Manage)),
    ("DENY", None),
];

/// `providers` and `upstreams` are the names that roles may use.
pub(super) fn read_all(root: &Section<'_>, providers: &BTreeSet<String>, upstreams: &BTreeSet<String>) -> Vec<Role> {
    let mut names = BTreeSet::new();
    root.sections("role")
        .into_iter()
        .filter_map(|section| read(section, providers, upstreams, &mut names))
        .collect()
}

fn read(
    section: Section<'_>,
    providers: &BTreeSet<String>,
    upstreams: &BTreeSet<String>,
    names: &mut BTreeSet<String>,
) -> Option<Role> {
    let name = section.required("name", value::text);
    if let Some(name) = &name
        && !names.insert(name.clone())
    {
        section.problem(
            "name",
            format!("{name:?} is the name of another role too: put both into one"),
        );
    }
    let groups = section
        .list("groups", |node| qualified(node, "group", true, providers))
        .unwrap_or_default();
    let users = section
        .list("users", |node| qualified(node, "user", false, providers))
        .unwrap_or_default();
    let upstreams = section
        .list("upstreams", |node| known_upstream(node, upstreams))
        .unwrap_or_default();
    let workspaces = section.list("workspaces", value::text).unwrap_or_default();
    let device_flow = section.choice("device_flow", &[("on", true), ("off", false)]);
    let grants: Vec<_> = section.sections("grants").into_iter().filter_map(read_grant).collect();
    if let Some(name) = name.as_deref().filter(|name| BUILT_IN.contains(name))
        && section
            .node("grants")
            .is_some_and(|node| !matches!(&node.shape, Shape::List(grants) if grants.is_empty()))
    {
        section.problem(
            "grants",
            format!("cannot be given to {name:?}, a built-in role: say who has it, or choose another name"),
        );
    }
    section.finish();
    Some(Role {
        name: name?,
        groups,
        users,
        upstreams,
        workspaces: workspaces.iter().map(|pattern| Glob::parse(pattern)).collect(),
        grants,
        device_flow: device_flow?,
    })
}

/// `provider:name`, of a provider that is there.
fn qualified(node: &Node, what: &str, any: bool, providers: &BTreeSet<String>) -> Result<String, String> {
    let text = value::text(node)?;
    let Some((provider, name)) = text.split_once(':').filter(|(_, name)| !name.trim().is_empty()) else {
        return Err(format!("must be \"provider:{what}\", not {text:?}"));
    };
    if providers.contains(provider) || (any && provider == "*") {
        debug_assert!(!name.is_empty());
        return Ok(text);
    }
    let known: Vec<_> = providers.iter().map(String::as_str).collect();
    Err(format!(
        "names the provider {provider:?}, but there are only: {}",
        known.join(", ")
    ))
}

fn known_upstream(node: &Node, upstreams: &BTreeSet<String>) -> Result<String, String> {
    let text = value::text(node)?;
    if upstreams.contains(&text) {
        return Ok(text);
    }
    let known: Vec<_> = upstreams.iter().map(String::as_str).collect();
    Err(format!(
        "names the upstream {text:?}, but there are only: {}",
        known.join(", ")
    ))
}

fn read_grant(section: Section<'_>) -> Option<Grant> {
    if section.node("permission").is_none() {
        section.problem("permission", "is missing: READ, USE, EDIT, MANAGE or DENY");
    }
    let permission = section.choice("permission", &PERMISSIONS);
    let mut patterns = Vec::new();
    let mut names_any = false;
    for kind in Kind::ALL {
        names_any |= section.node(kind.grant_key()).is_some();
        if let Some(found) = read_patterns(&section, kind) {
            patterns.push((kind, found));
        }
    }
    if !names_any {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.grant_key()).collect();
        section.problem(
            "permission",
            format!("is on nothing: name at least one of {}", kinds.join(", ")),
        );
    }
    section.finish();
    Some(Grant {
        permission: permission?,
        patterns,
    })
}

fn read_patterns(section: &Section<'_>, kind: Kind) -> Option<Vec<String>> {
    let key = kind.grant_key();
    let node = section.node(key)?;
    if kind == Kind::Server && matches!(node.shape, Shape::Bool(true)) {
        return Some(vec!["*".into()]);
    }
    let patterns = section.list(key, pattern)?;
    if matches!(&node.shape, Shape::List(entries) if entries.is_empty()) {
        section.problem(
            key,
            "is empty, so that it grants nothing: write [\"*\"] for all, or leave it out",
        );
        return None;
    }
    Some(patterns)
}

fn pattern(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    if text == "id:" {
        return Err("names no id: write \"id:123\"".into());
    }
    Ok(text)
}
