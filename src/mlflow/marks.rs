//! The gateway's own tags on an experiment or a registered model: who made it, and with whom it is shared.

use std::sync::Arc;

use crate::domain::{Marks, Share};

/// `provider:user`.
pub(super) const OWNER: &str = "mlgate.owner";
/// A list of `{"group": "provider:group", "permission": "READ"}`.
pub(super) const SHARE: &str = "mlgate.share";

/// Shares in one tag.
pub(super) const SHARES: usize = 50;

/// What the tag may take: 5,000 characters is what MLflow keeps of an experiment's. Bytes.
pub(super) const ROOM: usize = 4500;

/// The tag of these shares.
pub(super) fn written(shares: &[Share]) -> String {
    serde_json::to_string(shares).unwrap_or_default()
}

/// Reads them from a resource's tags. A tag that is not as the gateway writes it says nothing.
pub fn read<K: AsRef<str>, V: AsRef<str>>(tags: &[(K, V)]) -> Option<Arc<Marks>> {
    let mut marks = Marks::default();
    for (key, value) in tags {
        match key.as_ref() {
            OWNER if value.as_ref().contains(':') => marks.owner = Some(value.as_ref().to_owned()),
            SHARE => marks.shares = shares(value.as_ref()),
            _ => {}
        }
    }
    (marks != Marks::default()).then(|| Arc::new(marks))
}

fn shares(text: &str) -> Vec<Share> {
    let mut shares: Vec<Share> = serde_json::from_str(text).unwrap_or_default();
    shares.truncate(SHARES);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Permission;

    #[test]
    fn tags_are_read_as_the_gateway_writes_them_and_not_otherwise() {
        let read = |pairs: &[(&str, &str)]| read(pairs);
        assert_eq!(read(&[("team", "a"), ("mlgate.owner", "")]), None);
        assert_eq!(read(&[("mlgate.owner", "nobody")]), None);
        assert_eq!(read(&[("MLGATE.owner", "idp:carol")]), None);
        let marks = read(&[("mlgate.owner", "idp:carol"), ("mlgate.share", "[]")]).unwrap();
        assert_eq!(marks.owner.as_deref(), Some("idp:carol"));
        for nonsense in [
            "",
            "x",
            "{}",
            r#"[{"group": "idp:a"}]"#,
            r#"[{"group": "idp:a", "permission": "DENY"}]"#,
        ] {
            assert_eq!(read(&[("mlgate.share", nonsense)]), None, "{nonsense}");
        }
        let marks = read(&[("mlgate.share", r#"[{"group": "idp:a", "permission": "READ"}]"#)]).unwrap();
        let expected = Share {
            group: "idp:a".to_owned(),
            permission: Permission::Read,
        };
        assert_eq!(marks.shares, [expected]);
    }
}
