//! Where a request comes from: the peer, or behind trusted proxies the last hop that is none of them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::Network;

/// The client's address. `forwarded` are the values of `X-Forwarded-For`, in their order.
///
/// Counted from the right and through trusted hops alone: what stands further left is whatever the client wrote.
pub(super) fn client(peer: IpAddr, forwarded: &[&[u8]], network: &Network) -> IpAddr {
    let peer = peer.to_canonical();
    let mut client = peer;
    if !is_in(peer, &network.trusted_proxies) {
        return peer;
    }
    for value in forwarded.iter().rev() {
        for hop in value.rsplit(|byte| *byte == b',') {
            let Some(hop) = parse(hop) else { return peer };
            client = hop;
            if !is_in(hop, &network.trusted_proxies) {
                return client;
            }
        }
    }
    client
}

pub(super) fn is_trusted(peer: IpAddr, network: &Network) -> bool {
    is_in(peer.to_canonical(), &network.trusted_proxies)
}

/// Whether `[network]` lets this address in.
pub(super) fn may_connect(address: IpAddr, network: &Network) -> bool {
    !is_in(address, &network.deny) && (network.allow.is_empty() || is_in(address, &network.allow))
}

fn is_in(address: IpAddr, nets: &[IpNet]) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

/// An address, which some proxies write with a port or in brackets.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            allow: vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap()],
            deny: vec!["192.0.2.66/32".parse().unwrap()],
        }
    }

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        client(peer.parse().unwrap(), &forwarded, &network()).to_string()
    }

    #[test]
    fn nobody_is_believed_but_trusted_proxies() {
        assert_eq!(client_of("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client_of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn the_rightmost_untrusted_hop_counts_however_much_the_client_wrote() {
        assert_eq!(
            client_of("10.0.0.1", &["1.2.3.4, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(client_of("10.0.0.1", &["1.2.3.4", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn what_is_no_address_leaves_the_peer() {
        for bad in ["a", "", "1.2.3.4, unknown", "1.2.3.4,", "999.1.1.1", "_hidden"] {
            assert_eq!(client_of("10.0.0.1", &[bad]), "10.0.0.1", "{bad}");
        }
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_the_address() {
        assert_eq!(client_of("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client_of("::ffff:10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn deny_wins_over_allow() {
        let may = |text: &str| may_connect(text.parse().unwrap(), &network());
        assert!(may("192.0.2.1") && !may("192.0.2.66") && !may("203.0.113.1"));
        assert!(may_connect("203.0.113.1".parse().unwrap(), &Network::default()));
    }
}
