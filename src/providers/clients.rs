//! Clients that act for themselves (RFC 6749, 4.4): service accounts from the configuration.

use std::sync::Arc;

use async_trait::async_trait;

use super::{PasswordProvider, ProviderError, Vouched};
use crate::config::{CLIENTS, Client, GrantType};
use crate::domain::{Clock, Identity, Secret, Timestamp};

pub struct Clients {
    clients: Vec<Client>,
    clock: Arc<dyn Clock>,
}

impl Clients {
    pub fn new(clients: Vec<Client>, clock: Arc<dyn Clock>) -> Self {
        Self { clients, clock }
    }

    /// A client that has shown its secret already.
    pub fn vouch_for(&self, id: &str) -> Option<Vouched> {
        self.find(id).map(|client| Self::vouch(client, self.clock.now()))
    }

    fn find(&self, id: &str) -> Option<&Client> {
        let mut acting = self
            .clients
            .iter()
            .filter(|client| client.grants.contains(&GrantType::ClientCredentials));
        acting.find(|client| client.id == id)
    }

    fn vouch(client: &Client, authenticated_at: Timestamp) -> Vouched {
        let identity = Identity {
            provider: CLIENTS.to_owned(),
            subject: client.id.clone(),
            user: client.id.clone(),
            display_name: None,
            email: None,
            groups: client.groups.clone(),
            authenticated_at,
        };
        Vouched::new(identity, None)
    }
}

#[async_trait]
impl PasswordProvider for Clients {
    async fn sign_in(&self, id: &str, secret: &Secret) -> Result<Vouched, ProviderError> {
        match self.find(id) {
            Some(client) if client.secret.as_ref().is_some_and(|own| own.matches(secret.expose())) => {
                Ok(Self::vouch(client, self.clock.now()))
            }
            _ => Err(ProviderError::BadPassword),
        }
    }

    fn canonical(&self, id: &str) -> String {
        id.to_owned()
    }

    async fn recheck(&self, identity: &Identity, _state: Option<&str>) -> Result<Vouched, ProviderError> {
        self.find(&identity.subject)
            .map(|client| Self::vouch(client, identity.authenticated_at))
            .ok_or_else(|| ProviderError::AccountRefused("there is no such client any more".to_owned()))
    }
}
