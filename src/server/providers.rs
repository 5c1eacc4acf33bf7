//! The ways in that the configuration names.

use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::config::{Config, ProviderKind};
use crate::login::{self, Way};
use crate::providers::{Ldap, Local, Oidc};

use super::parts::Lasting;

pub(super) fn all(config: &Config, lasting: &Lasting) -> Result<Vec<login::Provider>> {
    config
        .providers
        .iter()
        .map(|provider| {
            let (id, clock) = (&provider.id, lasting.clock.clone());
            let way = match &provider.kind {
                ProviderKind::Local(local) => Way::Password(Arc::new(Local::new(id, local.clone(), clock))),
                ProviderKind::Ldap(ldap) => {
                    let ldap = Ldap::new(id, (**ldap).clone(), clock);
                    Way::Password(Arc::new(ldap.map_err(|error| anyhow!("provider {id}: {error}"))?))
                }
                ProviderKind::Oidc(oidc) => {
                    let oidc = Oidc::new(id, (**oidc).clone(), clock, lasting.random.clone());
                    Way::Redirect(Arc::new(oidc.map_err(|error| anyhow!("provider {id}: {error}"))?))
                }
            };
            Ok(login::Provider {
                id: provider.id.clone(),
                label: provider.label.clone(),
                way,
            })
        })
        .collect()
}
