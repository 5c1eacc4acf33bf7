//! What a directory says of one entry, read without trusting its form.

use std::collections::HashMap;

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

/// Attribute names are in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) dn: String,
    attributes: HashMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    /// `None` for what is no entry (a reference to elsewhere, which is not followed) or cannot be read.
    pub(super) fn read(result: ResultEntry) -> Option<Self> {
        const SEARCH_RESULT_ENTRY: u64 = 4;
        let mut parts = result
            .0
            .match_id(SEARCH_RESULT_ENTRY)?
            .expect_constructed()?
            .into_iter();
        let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
        let mut attributes = HashMap::new();
        for attribute in parts.next()?.expect_constructed()? {
            let (name, values) = read_attribute(attribute)?;
            attributes.insert(name, values);
        }
        Some(Self { dn, attributes })
    }

    #[cfg(test)]
    pub(super) fn of(dn: &str, attributes: &[(&str, &[&str])]) -> Self {
        let bytes = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        Self {
            dn: dn.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, values)| (name.to_ascii_lowercase(), bytes(values)))
                .collect(),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let values = self.attributes.get(&name.to_ascii_lowercase())?;
        values.first().map(Vec::as_slice)
    }

    /// The first value, of those that are text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }

    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.attributes.get(&name.to_ascii_lowercase());
        let texts = values.into_iter().flatten().map(|value| std::str::from_utf8(value));
        texts.flatten().filter(|text| !text.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

fn read_attribute(attribute: StructureTag) -> Option<(String, Vec<Vec<u8>>)> {
    let mut parts = attribute.expect_constructed()?.into_iter();
    let name = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
    let values = parts.next()?.expect_constructed()?;
    let values = values.into_iter().map(|value| match value.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    });
    Some((name.to_ascii_lowercase(), values.collect::<Option<_>>()?))
}

/// Active Directory's `objectGUID` as people see it: the first three fields are little-endian ([MS-DTYP], 2.3.4).
pub(super) fn guid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(uuid::Uuid::from_bytes_le(bytes).to_string())
}

/// The other way round.
pub(super) fn guid_bytes(text: &str) -> Option<[u8; 16]> {
    uuid::Uuid::parse_str(text).ok().map(|guid| guid.to_bytes_le())
}

/// The SID of another object of the same domain: the last field of a SID is the object's own ([MS-DTYP], 2.4.2.2).
pub(super) fn sibling_sid(sid: &[u8], id: u32) -> Option<Vec<u8>> {
    // Revision, count and authority, then at least the domain's and the object's field.
    let domain = sid.len().checked_sub(4).filter(|length| *length >= 12)?;
    let mut sibling = sid[..domain].to_vec();
    sibling.extend(id.to_le_bytes());
    Some(sibling)
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn tag(id: u64, payload: PL) -> StructureTag {
        StructureTag {
            class: TagClass::Universal,
            id,
            payload,
        }
    }

    fn text(text: &str) -> StructureTag {
        tag(4, PL::P(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_sound_entry_is_read_and_a_broken_one_is_none() {
        let attribute = tag(
            16,
            PL::C(vec![text("UID"), tag(17, PL::C(vec![text("ann"), text("a")]))]),
        );
        let sound = tag(4, PL::C(vec![text("uid=ann"), tag(16, PL::C(vec![attribute]))]));
        let entry = Entry::read(ldap3::ResultEntry::new(sound)).unwrap();
        assert_eq!(
            (entry.dn.as_str(), entry.text("uid"), entry.text("cn")),
            ("uid=ann", Some("ann"), None)
        );
        for broken in [
            tag(19, PL::C(vec![text("ldap://elsewhere/")])),
            tag(4, PL::P(Vec::new())),
            tag(4, PL::C(vec![text("uid=ann")])),
            tag(4, PL::C(vec![tag(4, PL::P(vec![0xff])), tag(16, PL::C(Vec::new()))])),
            tag(4, PL::C(vec![text("uid=ann"), tag(16, PL::C(vec![text("uid")]))])),
        ] {
            assert!(Entry::read(ldap3::ResultEntry::new(broken)).is_none());
        }
    }

    #[test]
    fn a_guid_has_one_text_and_back() {
        let bytes: Vec<u8> = (0..16).collect();
        let text = guid(&bytes).unwrap();
        assert_eq!(text, "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!(guid_bytes(&text).unwrap().as_slice(), bytes);
        assert!(guid(&bytes[1..]).is_none() && guid_bytes("ann").is_none());
    }

    #[test]
    fn the_primary_group_stands_beside_the_person() {
        let sid: Vec<u8> = [1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 80, 4, 0, 0].to_vec();
        let group = sibling_sid(&sid, 513).unwrap();
        assert_eq!((&group[..12], &group[12..]), (&sid[..12], &[1, 2, 0, 0][..]));
        assert!(sibling_sid(&sid[..8], 513).is_none() && sibling_sid(&[], 513).is_none());
    }
}
