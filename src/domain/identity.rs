//! Who is asking, and how they showed it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A person or program that a provider vouched for. The identity itself is (provider, subject); the user name is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider's id in the configuration.
    pub provider: String,
    /// Never reassigned by the provider: OIDC `sub`, the local user's name, …
    pub subject: String,
    /// The user name, as shown to people and to MLflow.
    pub user: String,
    pub display_name: Option<String>,
    pub email: Option<String>,
    /// Group names as the provider says them, without the provider's id.
    pub groups: Vec<String>,
    /// When the person last proved who they are.
    pub authenticated_at: Timestamp,
}

impl Identity {
    /// `provider:user`, as roles' `users` and the tag `mlgate.owner` spell it.
    pub fn qualified_user(&self) -> String {
        format!("{}:{}", self.provider, self.user)
    }

    /// `provider:group`, as roles' `groups` and shares spell them.
    pub fn qualified_groups(&self) -> impl Iterator<Item = String> {
        self.groups.iter().map(|group| format!("{}:{group}", self.provider))
    }
}

/// How a request showed who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Session,
    Token,
    Basic,
    Jwt,
    AdminSocket,
    Explain,
}

impl Via {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
            Self::AdminSocket => "admin_socket",
            Self::Explain => "explain",
        }
    }
}

/// What a credential leaves of its owner's rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Only READ, whatever the roles say.
    pub read_only: bool,
    /// Only experiments that one of these patterns names, with all that belongs to them; `None`: whatever the roles say.
    #[serde(default)]
    pub experiments: Option<Arc<[String]>>,
}

impl Scope {
    pub fn reading(read_only: bool) -> Self {
        Self {
            read_only,
            experiments: None,
        }
    }
}

/// One request's identity: who, by which credential, from where.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Arc<Identity>,
    pub via: Via,
    /// The public id of the session or token, as lists and the trail show it; never the secret.
    pub credential: Option<String>,
    pub scope: Scope,
    pub address: IpAddr,
}
