//! `[network]`: who may connect, and whose word on the client's address is believed.

use ipnet::IpNet;

use super::reader::Section;
use super::value;

#[derive(Clone, Debug, Default)]
pub struct Network {
    pub trusted_proxies: Vec<IpNet>,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

pub(super) fn read(section: Section<'_>) -> Network {
    let networks = |key| section.list(key, value::network).unwrap_or_default();
    let network = Network {
        trusted_proxies: networks("trusted_proxies"),
        allow: networks("allow"),
        deny: networks("deny"),
    };
    section.finish();
    network
}
