//! What a request asks for: a permission on a resource. Names are MLflow's own (`mlflow/server/auth/permissions.py`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// MLflow's permission levels, weakest first. DENY is no level but a veto, and lives with the grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Permission {
    Read,
    Use,
    Edit,
    Manage,
}

impl Permission {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Use => "USE",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of resource that a grant can name. Runs, traces, logged models, datasets and artifacts belong to their
/// experiment, versions to their model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Experiment,
    RegisteredModel,
    Prompt,
    Scorer,
    GatewayEndpoint,
    GatewayModelDefinition,
    GatewaySecret,
    McpServer,
    Skill,
    Workspace,
    Server,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Experiment,
        Self::RegisteredModel,
        Self::Prompt,
        Self::Scorer,
        Self::GatewayEndpoint,
        Self::GatewayModelDefinition,
        Self::GatewaySecret,
        Self::McpServer,
        Self::Skill,
        Self::Workspace,
        Self::Server,
    ];

    /// The key that a grant in the configuration uses: `experiments`, `registered_models`, …
    pub fn grant_key(self) -> &'static str {
        match self {
            Self::Experiment => "experiments",
            Self::RegisteredModel => "registered_models",
            Self::Prompt => "prompts",
            Self::Scorer => "scorers",
            Self::GatewayEndpoint => "gateway_endpoints",
            Self::GatewayModelDefinition => "gateway_model_definitions",
            Self::GatewaySecret => "gateway_secrets",
            Self::McpServer => "mcp_servers",
            Self::Skill => "skills",
            Self::Workspace => "workspaces",
            Self::Server => "server",
        }
    }

    /// The word in audit events, refusals and `explain`: `experiment`, `registered_model`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::RegisteredModel => "registered_model",
            Self::Prompt => "prompt",
            Self::Scorer => "scorer",
            Self::GatewayEndpoint => "gateway_endpoint",
            Self::GatewayModelDefinition => "gateway_model_definition",
            Self::GatewaySecret => "gateway_secret",
            Self::McpServer => "mcp_server",
            Self::Skill => "skill",
            Self::Workspace => "workspace",
            Self::Server => "server",
        }
    }
}

/// Which resources of a kind an access is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One that was resolved (or, for a creation or a look-up by name, the name alone).
    One { id: Option<String>, name: Option<String> },
    /// An id that the upstream does not know. Decided like `Every`, so that a missing id and a hidden one look the same.
    Unknown { id: String },
    /// All of the kind: granted by an unrestricted grant alone, and by none where anything of the kind is denied.
    Every,
}

/// What the gateway's own tags say of a resource; nobody else can write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// `provider:user` of who made it.
    pub owner: Option<String>,
    pub shares: Vec<Share>,
}

/// A permission that somebody who may gave to a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// `provider:group`.
    pub group: String,
    pub permission: Permission,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    pub kind: Kind,
    pub target: Target,
    /// Of one that is there; `None` where it bears none.
    pub marks: Option<Arc<Marks>>,
}

impl Resource {
    pub fn one(kind: Kind, id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            target: Target::One {
                id: Some(id.into()),
                name: Some(name.into()),
            },
            marks: None,
        }
    }

    pub fn named(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            target: Target::One {
                id: None,
                name: Some(name.into()),
            },
            marks: None,
        }
    }

    pub fn unknown(kind: Kind, id: impl Into<String>) -> Self {
        Self {
            kind,
            target: Target::Unknown { id: id.into() },
            marks: None,
        }
    }

    pub fn every(kind: Kind) -> Self {
        Self {
            kind,
            target: Target::Every,
            marks: None,
        }
    }

    /// The same, bearing these.
    pub fn marked(self, marks: Option<Arc<Marks>>) -> Self {
        Self { marks, ..self }
    }

    /// The server itself; there is only one, so its name is fixed.
    pub fn server() -> Self {
        Self::named(Kind::Server, "server")
    }

    pub fn id(&self) -> Option<&str> {
        match &self.target {
            Target::One { id, .. } => id.as_deref(),
            Target::Unknown { id } => Some(id),
            Target::Every => None,
        }
    }

    pub fn name(&self) -> Option<&str> {
        match &self.target {
            Target::One { name, .. } => name.as_deref(),
            Target::Unknown { .. } => None,
            Target::Every => Some("*"),
        }
    }
}

/// One thing that a request needs. A request is a list of these, and all must be granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nobody's resource (MLflow's page, its static files): open without a credential.
    Public,
    /// Nobody's resource, for everyone who holds any role.
    Member,
    /// A permission on a resource.
    On { permission: Permission, resource: Resource },
    /// A permission on one of several resources: a name that does not exist yet, which could be that of either kind.
    AnyOf {
        permission: Permission,
        resources: Vec<Resource>,
    },
}

impl Access {
    pub fn on(permission: Permission, resource: Resource) -> Self {
        Self::On { permission, resource }
    }
}

/// Something that can be authorized: it says what it is and all that it needs. The permit is bound to it.
pub trait Requires {
    /// `noun.verb`, for the trail: `experiment.create`.
    fn action(&self) -> &'static str;
    /// All accesses; an empty list is refused.
    fn accesses(&self) -> &[Access];
    /// Whether it changes something, where the accesses do not tell: what a token that may only read does not do.
    fn changes(&self) -> bool {
        false
    }
    /// Whether somebody else decides what its accesses leave open: what a token for some experiments alone does not get.
    fn is_left_to_others(&self) -> bool {
        false
    }
    /// MLflow's workspace that it is about; `None`: none was named, which is MLflow's `default`.
    fn workspace(&self) -> Option<&str> {
        None
    }
}
