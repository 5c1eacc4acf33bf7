//! The decision spelled out: which grants were looked at, hit or miss.

use crate::domain::{Access, Caller, Permission, Reason, Requires, Resource};

use super::permit::decide;
use super::roles::{By, Mark, Policy, Roles, Verdict};

/// One rule that was looked at for one access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedAt {
    pub role: String,
    /// `None` is DENY.
    pub permission: Option<Permission>,
    pub pattern: String,
    pub hit: bool,
}

/// One access with its verdict and all rules of its kind.
#[derive(Clone, Debug)]
pub struct Explained {
    pub access: Access,
    pub granted: bool,
    /// The role that granted or denied.
    pub role: Option<String>,
    pub looked_at: Vec<LookedAt>,
}

#[derive(Clone, Debug)]
pub struct Explanation {
    pub allowed: bool,
    pub reason: Reason,
    pub roles: Vec<String>,
    pub accesses: Vec<Explained>,
}

impl Policy {
    /// The same decision as `authorize`, told at length. Makes no permit.
    pub fn explain<T: Requires>(&self, caller: Option<&Caller>, upstream: &str, request: &T) -> Explanation {
        let accesses = request.accesses();
        let roles = caller
            .map(|caller| self.roles_of(&caller.identity, upstream).within(request.workspace()))
            .unwrap_or_default();
        let decision = decide(caller, &roles, request);
        Explanation {
            allowed: decision.is_ok(),
            reason: decision.unwrap_or_else(|refused| refused),
            roles: roles.names(),
            accesses: accesses.iter().map(|access| explain_access(&roles, access)).collect(),
        }
    }
}

fn explain_access(roles: &Roles, access: &Access) -> Explained {
    let (granted, role) = match roles.verdict(access) {
        Verdict::Granted(By::Role(role)) => (true, Some(role.to_string())),
        Verdict::Granted(By::Nothing | By::Mark(_)) => (true, None),
        Verdict::Denied(role) => (false, Some(role.to_string())),
        Verdict::NotGranted => (false, None),
    };
    let resources = match access {
        Access::Public | Access::Member => &[][..],
        Access::On { resource, .. } => std::slice::from_ref(resource),
        Access::AnyOf { resources, .. } => resources,
    };
    let looked_at = resources
        .iter()
        .flat_map(|resource| rules_about(roles, resource).chain(mark_on(roles, resource)))
        .collect();
    Explained {
        access: access.clone(),
        granted,
        role,
        looked_at,
    }
}

/// The resource's own mark, told like a rule.
fn mark_on(roles: &Roles, resource: &Resource) -> Option<LookedAt> {
    let mark = roles.mark(resource)?;
    Some(LookedAt {
        permission: Some(mark.permission()),
        hit: true,
        role: match &mark {
            Mark::Owner => "who made it".to_owned(),
            Mark::Share(group, _) => format!("shared with {group}"),
        },
        pattern: resource.name().or(resource.id()).unwrap_or_default().to_owned(),
    })
}

fn rules_about<'a>(roles: &'a Roles, resource: &'a Resource) -> impl Iterator<Item = LookedAt> + 'a {
    roles
        .held
        .iter()
        .flat_map(|role| role.rules.all().iter().map(move |rule| (role, rule)))
        .filter(|(_, rule)| rule.kind == resource.kind)
        .map(|(role, rule)| LookedAt {
            role: role.name.to_string(),
            permission: rule.permission,
            pattern: rule.text.to_string(),
            hit: rule.is_about(resource),
        })
}
