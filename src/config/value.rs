//! From a node to a final type: durations, sizes, limits, addresses, URLs, names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

use super::Rate;
use super::node::{Node, Shape};

type Parsed<T> = Result<T, String>;

/// A text without control characters.
pub(super) fn text(node: &Node) -> Parsed<String> {
    match &node.shape {
        Shape::Text(text) if text.chars().any(char::is_control) => Err("must not hold control characters".into()),
        Shape::Text(text) if text.is_empty() => Err("must not be empty".into()),
        Shape::Text(text) => Ok(text.clone()),
        _ => Err("must be a text in quotes".into()),
    }
}

/// A text that may have several lines.
pub(super) fn prose(node: &Node) -> Parsed<String> {
    match &node.shape {
        Shape::Text(text) if text.chars().any(|c| c.is_control() && c != '\n') => {
            Err("must not hold control characters".into())
        }
        Shape::Text(text) => Ok(text.trim().to_owned()),
        _ => Err("must be a text in quotes".into()),
    }
}

pub(super) fn flag(node: &Node) -> Parsed<bool> {
    match &node.shape {
        Shape::Bool(flag) => Ok(*flag),
        Shape::Text(text) if node.variable.is_some() && text == "true" => Ok(true),
        Shape::Text(text) if node.variable.is_some() && text == "false" => Ok(false),
        _ => Err("must be true or false, without quotes".into()),
    }
}

/// A number and one of a few units.
fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(*factor)
        .filter(|amount| *amount > 0)
}

fn span(text: &str) -> Option<Duration> {
    const HOUR: u64 = 3_600_000;
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", HOUR), ("d", 24 * HOUR)];
    // A hundred years: far from every overflow in sums of times.
    measured(text, &units)
        .filter(|millis| *millis <= 36_525 * 24 * HOUR)
        .map(Duration::from_millis)
}

pub(super) fn duration(node: &Node) -> Parsed<Duration> {
    let text = text(node).map_err(|_| r#"must be a duration such as "30s", "5m", "8h" or "365d""#)?;
    span(&text).ok_or_else(|| format!(r#"must be a duration such as "30s", "5m", "8h" or "365d", not {text:?}"#))
}

/// Bytes.
pub(super) fn size(node: &Node) -> Parsed<u64> {
    let units = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    let text = text(node).map_err(|_| r#"must be a size such as "32KiB" or "64MiB""#)?;
    measured(&text, &units)
        .filter(|bytes| *bytes <= 1 << 50)
        .ok_or_else(|| format!(r#"must be a size such as "32KiB" or "64MiB", not {text:?}"#))
}

/// Bytes that are held in memory: between 1 KiB and 1 GiB.
pub(super) fn memory(node: &Node) -> Parsed<usize> {
    let bytes = size(node)?;
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1 << 10..=1 << 30).contains(bytes))
        .ok_or_else(|| "must be between 1KiB and 1GiB".into())
}

/// `"10/5m"` is ten in five minutes.
pub(super) fn rate(node: &Node) -> Parsed<Rate> {
    let text = text(node)?;
    text.split_once('/')
        .and_then(|(count, per)| {
            Some(Rate {
                count: count.parse().ok().filter(|count| *count > 0)?,
                per: span(per)?,
            })
        })
        .ok_or_else(|| format!(r#"must be a limit such as "10/5m" (ten in five minutes), not {text:?}"#))
}

pub(super) fn socket(node: &Node) -> Parsed<SocketAddr> {
    let text = text(node)?;
    text.parse()
        .map_err(|_| format!(r#"must be an address with a port, such as "0.0.0.0:8443" or "[::1]:8443", not {text:?}"#))
}

/// A network, or one address.
pub(super) fn network(node: &Node) -> Parsed<IpNet> {
    let text = text(node)?;
    let net: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!(r#"must be a network such as "10.0.0.0/8" or "::1/128", not {text:?}"#))?;
    if net.trunc() != net {
        return Err(format!("has bits beyond its prefix: write \"{}\"", net.trunc()));
    }
    Ok(net)
}

/// http or https, with a host; no user, query or fragment. The text is never shown where it may hold a password.
pub(super) fn web_url(node: &Node) -> Parsed<Url> {
    let url = any_web_url(node)?;
    match url.query() {
        Some(_) => Err("must have no ? and no #".into()),
        None => Ok(url),
    }
}

/// Likewise, with a query where there is one.
pub(super) fn any_web_url(node: &Node) -> Parsed<Url> {
    let text = text(node)?;
    let url = Url::parse(&text).map_err(|error| format!("must be an absolute URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must start with http:// or https:// and name a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: there are keys for them".into());
    }
    if url.fragment().is_some() {
        return Err("must have no ? and no #".into());
    }
    Ok(url)
}

/// Whether a URL stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// `[a-z0-9-]+`, at most 63 characters: it stands in paths, keys and logs.
pub(super) fn id(node: &Node) -> Parsed<String> {
    let text = text(node)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > 63 || !text.chars().all(fits) {
        return Err(format!(
            "must be of a-z, 0-9 and - only, at most 63 of them, not {text:?}"
        ));
    }
    Ok(text)
}

/// A host name or address in lower case. A port is refused: hosts are compared without them.
pub(super) fn host(node: &Node) -> Parsed<String> {
    let text = text(node)?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    match Host::parse(&text) {
        Ok(Host::Domain(name)) if text.chars().all(plain) => Ok(name.trim_end_matches('.').to_owned()),
        _ => Err(format!(
            "must be a host name without scheme, port or path, not {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node {
            shape: Shape::Text(text.to_owned()),
            line: Some(1),
            variable: None,
        }
    }

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("8h", 28_800), ("365d", 31_536_000)] {
            assert_eq!(duration(&node(text)).unwrap(), Duration::from_secs(seconds));
        }
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "5 m",
            "5m30s",
            "0s",
            "1.5h",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(duration(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size(&node("64MiB")).unwrap(), 64 << 20);
        for text in ["64", "64MB", "0KiB", "9999999TiB"] {
            assert!(size(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_a_count_in_a_time() {
        assert_eq!(
            rate(&node("10/5m")).unwrap(),
            Rate {
                count: 10,
                per: Duration::from_secs(300)
            }
        );
        for text in ["10", "10/", "/5m", "0/5m", "-1/5m", "10/5"] {
            assert!(rate(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_lower_case_and_bare() {
        assert_eq!(host(&node("MLflow.Example.com")).unwrap(), "mlflow.example.com");
        assert_eq!(host(&node("::1")).unwrap(), "[::1]");
        for text in ["a:80", "http://a", "a/b", "*.a", "a b"] {
            assert!(host(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_with_stray_bits_is_refused() {
        assert!(network(&node("10.1.2.3/8")).unwrap_err().contains("10.0.0.0/8"));
        assert_eq!(network(&node("127.0.0.1")).unwrap().to_string(), "127.0.0.1/32");
    }

    #[test]
    fn only_a_variable_may_spell_a_flag_as_text() {
        assert!(flag(&node("true")).is_err());
        assert!(
            flag(&Node {
                variable: Some("X".into()),
                ..node("true")
            })
            .unwrap()
        );
    }
}
