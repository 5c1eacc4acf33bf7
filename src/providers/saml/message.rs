//! What all messages share: names, bounds, and the few shapes that elements may have.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::{Document, Node};

use super::rejected::{Checked, Rejected, must};
use crate::domain::Timestamp;
use crate::domain::xml::{self, XmlBounds};

pub(super) const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
pub(super) const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
pub(super) const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(super) const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

/// A message's, base64 and compression undone.
pub(super) const BOUNDS: XmlBounds = XmlBounds {
    size: 256 << 10,
    depth: 32,
    elements: 5000,
    attributes: 64,
    remarks: false,
};

/// Clocks may differ by this.
pub(super) const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
/// A message that was written longer ago is not under way any more.
pub(super) const OLDEST: std::time::Duration = std::time::Duration::from_secs(300);

/// The text of a form's field. Some providers break its lines.
pub(super) fn from_base64(field: &str) -> Checked<String> {
    // Base64 takes four bytes for three; white space in it is a few in a hundred.
    must(
        field.len() <= BOUNDS.size * 3 / 2,
        Rejected::Document(xml::XmlError::Size(BOUNDS.size)),
    )?;
    let packed: String = field.split_ascii_whitespace().collect();
    let bytes = STANDARD
        .decode(packed)
        .map_err(|_| Rejected::Binding("the message is no base64"))?;
    String::from_utf8(bytes).map_err(|_| Rejected::Binding("the message is not UTF-8 text"))
}

/// Parses a message. No ID may name two elements, whatever the attribute's case or namespace.
pub(super) fn read<'t>(text: &'t str, root: &str) -> Checked<Document<'t>> {
    let document = xml::read(text, BOUNDS)?;
    must(
        xml::is_named(document.root_element(), PROTOCOL, root),
        Rejected::Shape("the root is another element than its binding brings"),
    )?;
    check_ids(&document)?;
    Ok(document)
}

pub(super) fn check_ids(document: &Document<'_>) -> Checked<()> {
    let mut seen = HashSet::new();
    for attribute in document.descendants().flat_map(|node| node.attributes()) {
        if !attribute.name().eq_ignore_ascii_case("id") {
            continue;
        }
        must(
            attribute.namespace().is_none(),
            Rejected::Shape("an xml:id or another foreign ID"),
        )?;
        must(
            seen.insert(attribute.value()),
            Rejected::Shape("an ID that stands there twice"),
        )?;
    }
    Ok(())
}

/// `ID` of a message or an assertion: an NCName of sensible length.
pub(super) fn id_of<'a>(element: Node<'a, '_>) -> Checked<&'a str> {
    let fits = |id: &&str| {
        let mut letters = id.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        first && id.len() <= 256 && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    element
        .attribute("ID")
        .filter(fits)
        .ok_or(Rejected::Shape("an ID that is missing or no name"))
}

/// `Version`, `ID`, and when it was written: not in the future, and for a message not long ago.
pub(super) fn check_issue(element: Node<'_, '_>, now: Timestamp) -> Checked<()> {
    must(
        element.attribute("Version") == Some("2.0"),
        Rejected::Shape("another version than 2.0"),
    )?;
    id_of(element)?;
    let issued = time_of(element, "IssueInstant")?.ok_or(Rejected::Condition("IssueInstant is missing"))?;
    must(
        issued <= now.plus(SKEW),
        Rejected::Condition("IssueInstant is in the future"),
    )?;
    must(
        now.since(issued) <= OLDEST + SKEW,
        Rejected::Condition("IssueInstant is too long ago"),
    )
}

pub(super) fn time_of(element: Node<'_, '_>, attribute: &str) -> Checked<Option<Timestamp>> {
    let unreadable = |_| Rejected::Condition("a time cannot be read");
    let read = |text: &str| Timestamp::parse_rfc3339(text).map_err(unreadable);
    element.attribute(attribute).map(read).transpose()
}

/// The issuer is the provider that we know, and no other.
pub(super) fn check_issuer(parent: Node<'_, '_>, idp: &str) -> Checked<()> {
    let issuer = xml::only(parent, ASSERTION, "Issuer").ok_or(Rejected::Condition("Issuer is missing"))?;
    attributes_are(issuer, &["Format", "NameQualifier", "SPNameQualifier"])?;
    let format = issuer.attribute("Format");
    let is_entity = format.is_none_or(|format| format == "urn:oasis:names:tc:SAML:2.0:nameid-format:entity");
    must(
        is_entity && xml::text_of(issuer).as_deref() == Some(idp),
        Rejected::Condition("Issuer is another than the configured provider"),
    )
}

/// `Destination` names our own endpoint.
pub(super) fn check_destination(message: Node<'_, '_>, ours: &str) -> Checked<()> {
    match message.attribute("Destination") {
        None => Err(Rejected::Condition("Destination is missing")),
        Some(theirs) => must(theirs == ours, Rejected::Condition("Destination is another place")),
    }
}

/// The last code of a status, and that it is the success, or what it is instead.
pub(super) fn check_status(message: Node<'_, '_>) -> Checked<()> {
    let status = xml::only(message, PROTOCOL, "Status").ok_or(Rejected::Shape("Status is missing"))?;
    let code = xml::only(status, PROTOCOL, "StatusCode").ok_or(Rejected::Shape("StatusCode is missing"))?;
    let value = code.attribute("Value").unwrap_or_default();
    if value == SUCCESS {
        return Ok(());
    }
    let inner = xml::only(code, PROTOCOL, "StatusCode").and_then(|code| code.attribute("Value"));
    let names: Vec<_> = [Some(value), inner].into_iter().flatten().map(short).collect();
    Err(Rejected::Status(format!("the provider answers {}", names.join(", "))))
}

/// `Responder` of `urn:oasis:names:tc:SAML:2.0:status:Responder`; nothing of what is no name.
fn short(urn: &str) -> String {
    let last = urn.rsplit(':').next().unwrap_or_default();
    last.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// One place in a sequence of children.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
}

pub(super) const fn part(namespace: &'static str, name: &'static str, least: usize, most: usize) -> Part {
    Part {
        namespace,
        name,
        least,
        most,
    }
}

/// Exactly these children, in this order, and no text between them.
pub(super) fn sequence(parent: Node<'_, '_>, parts: &[Part], otherwise: &'static str) -> Checked<()> {
    no_loose_text(parent)?;
    let mut children = xml::elements(parent).peekable();
    for part in parts {
        let mut count = 0;
        while children
            .next_if(|child| xml::is_named(*child, part.namespace, part.name))
            .is_some()
        {
            count += 1;
        }
        must((part.least..=part.most).contains(&count), Rejected::Shape(otherwise))?;
    }
    must(children.next().is_none(), Rejected::Shape(otherwise))
}

/// Children of one namespace: each of the first, then each of the others at most once.
pub(super) fn children_are(
    parent: Node<'_, '_>,
    namespace: &'static str,
    first: &[&'static str],
    then: &[&'static str],
) -> Checked<()> {
    let parts: Vec<_> = first
        .iter()
        .map(|name| part(namespace, name, 1, 1))
        .chain(then.iter().map(|name| part(namespace, name, 0, 1)))
        .collect();
    sequence(
        parent,
        &parts,
        "an element that does not belong there, or one that is missing",
    )
}

pub(super) fn no_loose_text(parent: Node<'_, '_>) -> Checked<()> {
    let is_blank = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let mut texts = parent.children().filter(Node::is_text);
    must(
        texts.all(|text| is_blank(text.text().unwrap_or_default())),
        Rejected::Shape("text between elements"),
    )
}

/// No other attributes than these, and none with a prefix.
pub(super) fn attributes_are(element: Node<'_, '_>, allowed: &[&str]) -> Checked<()> {
    let mut attributes = element.attributes();
    must(
        attributes.all(|one| one.namespace().is_none() && allowed.contains(&one.name())),
        Rejected::Shape("an attribute that does not belong there"),
    )
}
