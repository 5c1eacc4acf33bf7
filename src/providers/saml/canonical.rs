//! Exclusive XML Canonicalization 1.0 without comments, of one element: the bytes that a signature is about.
//!
//! Only of documents that `domain::xml` has read, so there are elements, attributes and text, and depth has a bound.

use std::collections::BTreeMap;

use roxmltree::{Attribute, Node, NodeId, NodeType};

use crate::domain::xml::{self, XML_NAMESPACE};

/// The canonical form of `apex` without the child `omitted`. `inclusive` is the `PrefixList`: prefixes (or `#default`) that are
/// declared wherever they are in scope, used or not.
pub(super) fn canonical(apex: Node<'_, '_>, omitted: Option<NodeId>, inclusive: &[&str]) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::with_capacity(apex.range().len() * 5 / 4),
        rendered: Vec::new(),
        inclusive,
        omitted,
    };
    writer.element(apex);
    writer.out
}

struct Writer<'w> {
    out: Vec<u8>,
    /// Declarations that the output has at this place, the nearest last.
    rendered: Vec<(String, String)>,
    inclusive: &'w [&'w str],
    omitted: Option<NodeId>,
}

impl Writer<'_> {
    fn element(&mut self, element: Node<'_, '_>) {
        let (prefix, local) = xml::written_name(element);
        let before = self.rendered.len();
        self.out.push(b'<');
        self.name(prefix, local);
        for (prefix, uri) in self.needed(element, prefix) {
            let known = self.rendered.iter().rev().find(|(known, _)| *known == prefix);
            let known = known.map_or("", |(_, uri)| uri.as_str());
            if known == uri {
                continue;
            }
            self.out.extend_from_slice(b" xmlns");
            if !prefix.is_empty() {
                self.out.push(b':');
                self.out.extend_from_slice(prefix.as_bytes());
            }
            self.out.extend_from_slice(b"=\"");
            self.value(&uri);
            self.out.push(b'"');
            self.rendered.push((prefix, uri));
        }
        let mut attributes: Vec<_> = element.attributes().collect();
        attributes.sort_by_key(|attribute| (attribute.namespace().unwrap_or_default(), attribute.name()));
        for attribute in attributes {
            self.out.push(b' ');
            let (prefix, local) = written(element, attribute);
            self.name(prefix, local);
            self.out.extend_from_slice(b"=\"");
            self.value(attribute.value());
            self.out.push(b'"');
        }
        self.out.push(b'>');
        let omitted = self.omitted;
        for child in element.children().filter(|child| Some(child.id()) != omitted) {
            match child.node_type() {
                NodeType::Element => self.element(child),
                NodeType::Text => self.text(child.text().unwrap_or_default()),
                NodeType::Comment | NodeType::PI | NodeType::Root => {}
            }
        }
        self.out.extend_from_slice(b"</");
        self.name(prefix, local);
        self.out.push(b'>');
        self.rendered.truncate(before);
    }

    /// Declarations that must hold here, by prefix: those that are visibly used, and those of the list that are in scope.
    fn needed(&self, element: Node<'_, '_>, prefix: &str) -> BTreeMap<String, String> {
        let mut needed = BTreeMap::new();
        let uri = element.tag_name().namespace().unwrap_or_default();
        needed.insert(prefix.to_owned(), uri.to_owned());
        for attribute in element.attributes() {
            if let (Some(uri), (prefix, _)) = (attribute.namespace(), written(element, attribute)) {
                needed.insert(prefix.to_owned(), uri.to_owned());
            }
        }
        for prefix in self.inclusive {
            let prefix = if *prefix == "#default" { "" } else { prefix };
            let uri = in_scope(element, prefix);
            // An undeclared default namespace is written only where there is one to take back.
            if uri.is_some() || prefix.is_empty() {
                needed.insert(prefix.to_owned(), uri.unwrap_or_default().to_owned());
            }
        }
        needed.retain(|prefix, uri| prefix != "xml" && uri != XML_NAMESPACE);
        needed
    }

    fn name(&mut self, prefix: &str, local: &str) {
        if !prefix.is_empty() {
            self.out.extend_from_slice(prefix.as_bytes());
            self.out.push(b':');
        }
        self.out.extend_from_slice(local.as_bytes());
    }

    fn value(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'&' => self.out.extend_from_slice(b"&amp;"),
                b'<' => self.out.extend_from_slice(b"&lt;"),
                b'"' => self.out.extend_from_slice(b"&quot;"),
                b'\t' => self.out.extend_from_slice(b"&#x9;"),
                b'\n' => self.out.extend_from_slice(b"&#xA;"),
                b'\r' => self.out.extend_from_slice(b"&#xD;"),
                byte => self.out.push(byte),
            }
        }
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'&' => self.out.extend_from_slice(b"&amp;"),
                b'<' => self.out.extend_from_slice(b"&lt;"),
                b'>' => self.out.extend_from_slice(b"&gt;"),
                b'\r' => self.out.extend_from_slice(b"&#xD;"),
                byte => self.out.push(byte),
            }
        }
    }
}

fn in_scope<'a>(element: Node<'a, '_>, prefix: &str) -> Option<&'a str> {
    element.lookup_namespace_uri((!prefix.is_empty()).then_some(prefix))
}

fn written<'i>(element: Node<'_, 'i>, attribute: Attribute<'_, 'i>) -> (&'i str, &'i str) {
    let text = element.document().input_text();
    xml::split_name(text.get(attribute.range_qname()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::saml::message::BOUNDS;

    fn of(text: &str, inclusive: &[&str]) -> String {
        let document = xml::read(text, BOUNDS).unwrap();
        String::from_utf8(canonical(document.root_element(), None, inclusive)).unwrap()
    }

    #[test]
    fn only_what_is_used_is_declared_and_everything_has_its_order() {
        let text = "<?xml version='1.0'?>\n<a:r  xmlns:z='urn:z' xmlns:a='urn:a' b='2' z:a='1' a='&#9;\"'><c xmlns=''/>x&gt;&#13;</a:r>";
        assert_eq!(
            of(text, &[]),
            "<a:r xmlns:a=\"urn:a\" xmlns:z=\"urn:z\" a=\"&#x9;&quot;\" b=\"2\" z:a=\"1\"><c></c>x&gt;&#xD;</a:r>"
        );
        assert_eq!(
            of("<r xmlns:xs='urn:xs'><c t='xs:string'/></r>", &[]),
            "<r><c t=\"xs:string\"></c></r>"
        );
    }

    #[test]
    fn listed_prefixes_are_declared_where_they_are_in_scope() {
        let text = "<r xmlns:xs='urn:xs' xmlns:no='urn:no'><c t='xs:string'/></r>";
        assert_eq!(
            of(text, &["xs", "nowhere"]),
            "<r xmlns:xs=\"urn:xs\"><c t=\"xs:string\"></c></r>"
        );
        assert_eq!(
            of("<p:r xmlns='urn:d' xmlns:p='urn:p'/>", &["#default"]),
            "<p:r xmlns=\"urn:d\" xmlns:p=\"urn:p\"></p:r>"
        );
    }

    #[test]
    fn a_default_namespace_is_taken_back_where_it_ends() {
        let text = "<r xmlns='urn:d'><c xmlns=''><d/></c></r>";
        assert_eq!(of(text, &[]), "<r xmlns=\"urn:d\"><c xmlns=\"\"><d></d></c></r>");
    }

    #[test]
    fn one_child_can_be_left_out() {
        let document = xml::read("<r>a<s/>b<t/></r>", BOUNDS).unwrap();
        let root = document.root_element();
        let first = root.first_element_child().unwrap().id();
        assert_eq!(canonical(root, Some(first), &[]), b"<r>ab<t></t></r>");
    }
}
