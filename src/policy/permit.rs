//! The permit: proof that a request was authorized, bound to the request and to the caller. Only this file can make one.

use crate::domain::{Access, Caller, Kind, Permission, Reason, ReasonCode, Requires, Resource, Target};

use super::roles::{By, Mark, Policy, Roles, Standing, Verdict};

/// A request that may be carried out, by whom, and why. Forwarding takes it by value.
#[derive(Debug)]
pub struct Permit<T> {
    caller: Option<Caller>,
    roles: Roles,
    request: T,
    reason: Reason,
}

/// A request that may not be carried out. Keeps what the record needs.
#[derive(Debug)]
pub struct Refusal<T> {
    pub caller: Option<Caller>,
    pub roles: Roles,
    pub request: T,
    pub reason: Reason,
}

impl<T> Permit<T> {
    /// `None` for what is open without a credential.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    pub fn request(&self) -> &T {
        &self.request
    }

    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Equal for callers whose rights are the same, as long as the policy is in force.
    pub fn rights(&self) -> u64 {
        self.roles.likeness()
    }

    /// Whether the caller is granted this too: what lists are cut down by.
    pub fn may(&self, access: &Access) -> bool {
        matches!(self.roles.verdict(access), Verdict::Granted(_))
    }

    /// Takes the permit apart, which ends it.
    pub fn into_parts(self) -> (Option<Caller>, Roles, T, Reason) {
        (self.caller, self.roles, self.request, self.reason)
    }
}

impl<T: Requires> Refusal<T> {
    /// The first access that is not granted, to be said in other words than the reason's.
    pub fn missing(&self) -> Option<&Access> {
        self.request
            .accesses()
            .iter()
            .find(|access| !matches!(self.roles.verdict(access), Verdict::Granted(_)))
    }
}

impl Policy {
    /// Decides a request. All its accesses must be granted; a request without any is refused.
    ///
    /// # Errors
    /// The refusal, with the reason and the request.
    pub fn authorize<T: Requires>(
        &self,
        caller: Option<(Caller, &Standing)>,
        request: T,
    ) -> Result<Permit<T>, Box<Refusal<T>>> {
        let (caller, roles) = match caller {
            // Another's standing is none.
            Some((caller, standing)) if standing.is_of(&caller.identity) => {
                (Some(caller), standing.roles().within(request.workspace()))
            }
            Some((caller, _)) => (Some(caller), Roles::default()),
            None => (None, Roles::default()),
        };
        let roles = match &caller {
            Some(caller) => roles.scoped(&caller.scope),
            None => roles,
        };
        let decision = decide(caller.as_ref(), &roles, &request);
        match decision {
            Ok(reason) => Ok(Permit {
                caller,
                roles,
                request,
                reason,
            }),
            Err(reason) => Err(Box::new(Refusal {
                caller,
                roles,
                request,
                reason,
            })),
        }
    }
}

/// The decision itself: the reason, as `Ok` where all is granted.
pub(super) fn decide<T: Requires>(caller: Option<&Caller>, roles: &Roles, request: &T) -> Result<Reason, Reason> {
    let accesses = request.accesses();
    if accesses.is_empty() {
        return Err(Reason::new(
            ReasonCode::UnknownRoute,
            "The gateway does not know what this request touches.",
        ));
    }
    if accesses.iter().all(|access| *access == Access::Public) {
        return Ok(Reason::new(ReasonCode::Public, "Open to everyone."));
    }
    let Some(caller) = caller else {
        return Err(Reason::new(ReasonCode::NotSignedIn, "Sign in first."));
    };
    if roles.is_empty() {
        return Err(Reason::new(
            ReasonCode::NoRole,
            format!("{} is signed in but holds no role here.", caller.identity.user),
        ));
    }
    if caller.scope.read_only && request.changes() {
        return Err(Reason::new(ReasonCode::ReadOnlyToken, "This token may only read."));
    }
    // Whoever decides further does not know the token's limit, and would go by all that its owner may.
    if caller.scope.experiments.is_some() && request.is_left_to_others() {
        let text = "This token is limited to experiments that are named in it, which cannot be held where MLflow's own roles decide.";
        return Err(Reason::new(ReasonCode::TokenScope, text));
    }
    let mut by = None;
    for access in accesses {
        if let Access::On { permission, .. } | Access::AnyOf { permission, .. } = access
            && caller.scope.read_only
            && *permission > Permission::Read
        {
            return Err(Reason::new(ReasonCode::ReadOnlyToken, "This token may only read."));
        }
        if !is_in_reach(roles, access) {
            let text = "This token is limited to experiments that are named in it.";
            return Err(Reason::new(ReasonCode::TokenScope, text));
        }
        match roles.verdict(access) {
            Verdict::Granted(granting) => by = by.or(Some(granting)),
            // The sentence is the same whether it is denied, not granted or not there: a hidden thing looks like a missing one.
            Verdict::Denied(_) => return Err(Reason::new(ReasonCode::Denied, missing(access))),
            Verdict::NotGranted => return Err(Reason::new(ReasonCode::NotGranted, missing(access))),
        }
    }
    Ok(Reason::new(ReasonCode::Granted, granted(by.as_ref())))
}

fn granted(by: Option<&By>) -> String {
    match by {
        Some(By::Role(role)) => format!("Granted by the role {role}."),
        Some(By::Mark(Mark::Owner)) => "Granted to who made it.".to_owned(),
        Some(By::Mark(Mark::Share(group, _))) => format!("Granted by a share with the group {group}."),
        Some(By::Nothing) | None => "Open to everyone.".to_owned(),
    }
}

fn is_in_reach(roles: &Roles, access: &Access) -> bool {
    match access {
        Access::Public | Access::Member => true,
        Access::On { resource, .. } => roles.reach(resource),
        Access::AnyOf { resources, .. } => resources.iter().any(|resource| roles.reach(resource)),
    }
}

fn missing(access: &Access) -> String {
    match access {
        Access::Public | Access::Member => "This needs a role.".to_owned(),
        Access::On { permission, resource } => {
            format!("This needs {permission} on {}.", describe(resource))
        }
        Access::AnyOf { permission, resources } => match resources.first() {
            Some(first) => format!("This needs {permission} on {}.", describe(first)),
            None => "This needs a role.".to_owned(),
        },
    }
}

/// The resource in words. An id, and what it was resolved to, stay unsaid: a hidden thing must look like a missing one.
fn describe(resource: &Resource) -> String {
    let kind = resource.kind.as_str().replace('_', " ");
    match &resource.target {
        Target::Every => format!("every {kind}"),
        Target::One {
            id: None,
            name: Some(_),
        } if resource.kind == Kind::Server => "the server".to_owned(),
        Target::One {
            id: None,
            name: Some(name),
        } => format!("the {kind} '{name}'"),
        Target::One { .. } | Target::Unknown { .. } => format!("the {kind} that it names"),
    }
}
