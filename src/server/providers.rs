//! The ways in that the configuration names.

use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::config::{Config, ProviderKind};
use crate::login::{self, Way};
use crate::outbound::provider::Bounds;
use crate::providers::{Ldap, Local, Oidc, OidcParts};

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
                    let parts = OidcParts {
                        recheck: config.session.recheck,
                        clock,
                        random: lasting.random.clone(),
                        bounds: Bounds::default(),
                        places: lasting.places.clone(),
                    };
                    let oidc = Oidc::new(id, (**oidc).clone(), parts);
                    Way::Redirect(Arc::new(oidc.map_err(|error| anyhow!("provider {id}: {error}"))?))
                }
            };
            let domains = match &provider.kind {
                ProviderKind::Oidc(oidc) => oidc.hosted_domains.clone(),
                ProviderKind::Local(_) | ProviderKind::Ldap(_) => Vec::new(),
            };
            Ok(login::Provider {
                id: provider.id.clone(),
                label: provider.label.clone(),
                domains,
                way,
            })
        })
        .collect()
}
