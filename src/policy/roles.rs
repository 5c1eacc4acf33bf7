//! Roles: who holds them, and the rules that they bring.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::config;
use crate::domain::{Access, Glob, Identity, Kind, Permission, Resource, Scope};

use super::grants::Rule;
use super::rules::Rules;

/// The built-in roles, weakest first.
const BUILT_IN: [(&str, Permission); 4] = [
    ("viewer", Permission::Read),
    ("editor", Permission::Edit),
    ("manager", Permission::Manage),
    ("admin", Permission::Manage),
];

#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: Arc<str>,
    /// Names of upstreams; empty: all.
    upstreams: Vec<String>,
    /// Empty: all.
    workspaces: Vec<Glob>,
    pub(super) rules: Rules,
    device_flow: bool,
}

/// All roles, compiled. A configuration makes one; nothing in it changes afterwards.
#[derive(Debug)]
pub struct Policy {
    roles: Vec<Arc<Role>>,
    by_group: HashMap<String, Vec<usize>>,
    by_user: HashMap<String, Vec<usize>>,
    believes_marks: bool,
    /// Upstreams on which shares count for nothing.
    unshared: Vec<String>,
}

/// The roles that an identity holds on one upstream: what its rights are read from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    pub(super) held: Arc<[Arc<Role>]>,
    holder: Arc<Holder>,
}

/// Who holds them, as owners and shares name people and groups.
#[derive(Clone, Debug, Default)]
struct Holder {
    /// `provider:user`.
    user: String,
    /// `provider:group`; none where shares count for nothing.
    groups: Vec<String>,
    /// What the credential leaves of all: experiments of these patterns; `None`: all of it.
    only: Option<Vec<Rule>>,
}

/// The roles of one identity, bound to it. The policy alone makes it; it holds as long as the policy is in force.
#[derive(Clone, Debug)]
pub struct Standing {
    pub(super) of: Arc<Identity>,
    pub(super) roles: Roles,
}

impl Standing {
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Whether they may use a workspace.
    pub fn enters(&self, workspace: &str) -> bool {
        let named = Resource::named(Kind::Workspace, workspace);
        self.roles.within(Some(workspace)).allow(Permission::Use, &named)
    }

    pub fn is_of(&self, identity: &Arc<Identity>) -> bool {
        Arc::ptr_eq(&self.of, identity) || self.of == *identity
    }
}

impl Policy {
    pub fn new(roles: &[config::Role]) -> Self {
        let mut policy = Self {
            roles: Vec::new(),
            by_group: HashMap::new(),
            by_user: HashMap::new(),
            believes_marks: true,
            unshared: Vec::new(),
        };
        for role in roles {
            let index = policy.roles.len();
            policy.roles.push(Arc::new(Role {
                name: role.name.as_str().into(),
                upstreams: role.upstreams.clone(),
                workspaces: role.workspaces.clone(),
                rules: Rules::new(rules_of(role)),
                device_flow: role.device_flow,
            }));
            for group in &role.groups {
                policy.by_group.entry(group.clone()).or_default().push(index);
            }
            for user in &role.users {
                policy.by_user.entry(user.clone()).or_default().push(index);
            }
        }
        policy
    }

    /// Where an ingress carries requests whose bodies are not seen, anybody could have written a mark: none of them counts.
    #[must_use]
    pub fn without_marks_where(mut self, others_write_them: bool) -> Self {
        self.believes_marks = !others_write_them;
        self
    }

    /// The same, where some upstreams have `sharing = "off"`.
    #[must_use]
    pub fn sharing_on(mut self, upstreams: &[config::Upstream]) -> Self {
        let off = upstreams.iter().filter(|upstream| !upstream.sharing);
        self.unshared = off.map(|upstream| upstream.name.clone()).collect();
        self
    }

    /// What this identity holds on an upstream: to be remembered by whoever asks often.
    pub fn standing(&self, identity: &Arc<Identity>, upstream: &str) -> Standing {
        Standing {
            of: identity.clone(),
            roles: self.roles_of(identity, upstream),
        }
    }

    /// The roles that this identity holds on an upstream, in the order of the configuration.
    pub fn roles_of(&self, identity: &Identity, upstream: &str) -> Roles {
        let mut indexes: Vec<usize> = Vec::new();
        let mut qualified = String::new();
        for group in &identity.groups {
            for provider in [identity.provider.as_str(), "*"] {
                qualified.clear();
                qualified.push_str(provider);
                qualified.push(':');
                qualified.push_str(group);
                indexes.extend(self.by_group.get(&qualified).into_iter().flatten());
            }
        }
        indexes.extend(self.by_user.get(&identity.qualified_user()).into_iter().flatten());
        indexes.sort_unstable();
        indexes.dedup();
        let held = indexes
            .into_iter()
            .map(|index| &self.roles[index])
            .filter(|role| role.upstreams.is_empty() || role.upstreams.iter().any(|name| name == upstream))
            .cloned()
            .collect();
        let holder = match self.believes_marks {
            true => Holder {
                user: identity.qualified_user(),
                groups: if self.unshared.iter().any(|name| name == upstream) {
                    Vec::new()
                } else {
                    identity.qualified_groups().collect()
                },
                only: None,
            },
            false => Holder::default(),
        };
        Roles {
            held,
            holder: Arc::new(holder),
        }
    }
}

fn rules_of(role: &config::Role) -> Vec<Rule> {
    if let Some((name, level)) = BUILT_IN.iter().find(|(name, _)| *name == role.name) {
        return Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Server || *name == "admin")
            .map(|kind| Rule::new(Some(*level), kind, "*"))
            .collect();
    }
    role.grants
        .iter()
        .flat_map(|grant| {
            grant.patterns.iter().flat_map(move |(kind, patterns)| {
                patterns
                    .iter()
                    .map(move |pattern| Rule::new(grant.permission, *kind, pattern))
            })
        })
        .collect()
}

/// How the rules of some roles answer one access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted(By),
    /// A DENY of the named role.
    Denied(Arc<str>),
    NotGranted,
}

/// What grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing has to: open to everyone.
    Nothing,
    Role(Arc<str>),
    /// A mark on the resource itself.
    Mark(Mark),
}

/// A mark that speaks of the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Owner,
    /// The group, `provider:group`.
    Share(String, Permission),
}

impl Mark {
    pub(super) fn permission(&self) -> Permission {
        match self {
            Self::Owner => Permission::Manage,
            Self::Share(_, permission) => *permission,
        }
    }
}

/// The workspace of a request that names none.
const DEFAULT_WORKSPACE: &str = "default";

impl Roles {
    /// What a credential leaves of them.
    pub(super) fn scoped(self, scope: &Scope) -> Self {
        let Some(experiments) = &scope.experiments else {
            return self;
        };
        let rule = |pattern: &String| Rule::new(Some(Permission::Manage), Kind::Experiment, pattern);
        let holder = Holder {
            only: Some(experiments.iter().map(rule).collect()),
            ..Holder::clone(&self.holder)
        };
        Self {
            holder: Arc::new(holder),
            ..self
        }
    }

    /// Whether the credential leaves anything of the rights on a resource.
    pub(super) fn reach(&self, resource: &Resource) -> bool {
        let only = self.holder.only.as_ref();
        only.is_none_or(|rules| rules.iter().any(|rule| rule.is_about(resource)))
    }

    /// Those of them that hold in a workspace.
    pub(super) fn within(&self, workspace: Option<&str>) -> Self {
        if self.held.iter().all(|role| role.workspaces.is_empty()) {
            return self.clone();
        }
        let workspace = workspace.unwrap_or(DEFAULT_WORKSPACE);
        let holds = |role: &Role| {
            role.workspaces.is_empty() || role.workspaces.iter().any(|pattern| pattern.matches(workspace))
        };
        Self {
            held: self.held.iter().filter(|role| holds(role)).cloned().collect(),
            holder: self.holder.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.held.iter().map(|role| role.name.to_string()).collect()
    }

    /// Equal for the same roles of the same policy, held by the same person in the same groups.
    pub(super) fn likeness(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for role in self.held.iter() {
            Arc::as_ptr(role).hash(&mut hasher);
        }
        (&self.holder.user, &self.holder.groups).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether these roles reach the operator's pages: MANAGE on `server`.
    pub fn are_admin(&self) -> bool {
        self.allow(Permission::Manage, &Resource::server())
    }

    /// Whether none of these roles forbids signing terminals in by a code.
    pub fn allow_device_flow(&self) -> bool {
        self.held.iter().all(|role| role.device_flow)
    }

    /// The strongest permission on a resource; `None` where there is none or it is denied.
    pub fn level(&self, resource: &Resource) -> Option<Permission> {
        if !self.reach(resource) {
            return None;
        }
        let mut best = None;
        for rule in self.held.iter().flat_map(|role| role.rules.about(resource)) {
            best = Some(best.max(Some(rule.permission?))?);
        }
        best.max(self.mark(resource).map(|mark| mark.permission()))
    }

    /// The strongest of the marks that speak of the holder. Whoever holds no role is a stranger, whatever they made.
    pub(super) fn mark(&self, resource: &Resource) -> Option<Mark> {
        let marks = resource.marks.as_deref().filter(|_| !self.is_empty())?;
        if marks.owner.as_ref() == Some(&self.holder.user) {
            return Some(Mark::Owner);
        }
        let share = marks
            .shares
            .iter()
            .filter(|share| self.holder.groups.contains(&share.group))
            .max_by_key(|share| share.permission)?;
        Some(Mark::Share(share.group.clone(), share.permission))
    }

    pub fn allow(&self, permission: Permission, resource: &Resource) -> bool {
        self.level(resource).is_some_and(|level| level >= permission)
    }

    /// For an answer that is to be cut down: is anything of this kind hidden at all? `false` means that the list can pass as it is.
    pub fn hide_some(&self, permission: Permission, kind: Kind) -> bool {
        !self.allow(permission, &Resource::every(kind))
    }

    pub(super) fn verdict(&self, access: &Access) -> Verdict {
        match access {
            Access::Public => Verdict::Granted(By::Nothing),
            Access::Member => self.held.first().map_or(Verdict::NotGranted, |role| {
                Verdict::Granted(By::Role(role.name.clone()))
            }),
            Access::On { permission, resource } => self.verdict_on(*permission, resource),
            Access::AnyOf { permission, resources } => {
                let mut best = Verdict::NotGranted;
                for resource in resources {
                    match self.verdict_on(*permission, resource) {
                        Verdict::Denied(role) => return Verdict::Denied(role),
                        granted @ Verdict::Granted(_) if best == Verdict::NotGranted => best = granted,
                        Verdict::Granted(_) | Verdict::NotGranted => {}
                    }
                }
                best
            }
        }
    }

    fn verdict_on(&self, permission: Permission, resource: &Resource) -> Verdict {
        if !self.reach(resource) {
            return Verdict::NotGranted;
        }
        let mut granted = None;
        for role in self.held.iter() {
            for rule in role.rules.about(resource) {
                match rule.permission {
                    None => return Verdict::Denied(role.name.clone()),
                    Some(level) if level >= permission => granted = granted.or_else(|| Some(role.name.clone())),
                    Some(_) => {}
                }
            }
        }
        if let Some(role) = granted {
            return Verdict::Granted(By::Role(role));
        }
        match self.mark(resource).filter(|mark| mark.permission() >= permission) {
            Some(mark) => Verdict::Granted(By::Mark(mark)),
            None => Verdict::NotGranted,
        }
    }
}
