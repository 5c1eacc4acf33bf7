//! From a posted response to what the provider states of a person: one shape, one signature that covers what is read, and every
//! condition of it.

use std::sync::Arc;

use roxmltree::{Document, Node};
use serde::{Deserialize, Serialize};

use super::decrypt;
use super::message::{
    self, ASSERTION, BOUNDS, DSIG, PROTOCOL, SKEW, attributes_are, check_destination, check_ids, check_issue,
    check_issuer, check_status, id_of, part, sequence, time_of,
};
use super::rejected::{Checked, Rejected, must};
use super::signature;
use crate::config::{IdpMetadata, SamlProvider};
use crate::domain::xml::{self, XML_NAMESPACE};
use crate::domain::{Random, Timestamp};

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
/// Attribute values in all; more than any directory's groups that are of use.
const MOST_VALUES: usize = 4000;

/// What a response must be, to be believed at this moment.
pub(super) struct Expected {
    pub(super) idp: Arc<IdpMetadata>,
    pub(super) config: Arc<SamlProvider>,
    /// Our own endpoint.
    pub(super) acs: String,
    pub(super) now: Timestamp,
}

/// What a believed assertion says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) assertion_id: String,
    /// The request that it answers; `None` for one that nobody asked for.
    pub(super) in_response_to: Option<String>,
    pub(super) name_id: NameId,
    pub(super) session_index: Option<String>,
    pub(super) session_until: Option<Timestamp>,
    pub(super) authenticated_at: Timestamp,
    pub(super) authn_context: Option<String>,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NameId {
    pub(super) value: String,
    pub(super) format: Option<String>,
    pub(super) name_qualifier: Option<String>,
    pub(super) sp_name_qualifier: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) friendly_name: Option<String>,
    pub(super) values: Vec<String>,
}

/// A response after its first look.
#[derive(Debug)]
pub(super) enum Opened {
    /// All of it was checked.
    Whole(Box<Statement>),
    /// Only what is encrypted is signed: to be decrypted for whoever asked for it, and once.
    Sealed(Sealed),
}

/// A response whose assertion is encrypted and whose own words nobody vouches for yet.
#[derive(Debug)]
pub(super) struct Sealed {
    text: String,
    pub(super) in_response_to: Option<String>,
}

/// Checks everything that can be checked without a decryption that a stranger could ask for.
pub(super) fn open(text: &str, expected: &Expected, random: &dyn Random) -> Checked<Opened> {
    let document = message::read(text, "Response")?;
    let root = document.root_element();
    let place = check_shape(root)?;
    let signature = xml::only(root, DSIG, "Signature");
    let Some(signature) = signature else {
        let facts = Facts::read(root, expected)?;
        if place.is_encrypted {
            let (text, in_response_to) = (text.to_owned(), facts.in_response_to);
            return Ok(Opened::Sealed(Sealed { text, in_response_to }));
        }
        let assertion = verified(place.assertion, expected)?.ok_or(Rejected::Signature("nothing is signed"))?;
        return statement(&assertion, &facts, expected).map(Opened::whole);
    };
    let bytes = signature::verify(root, signature, &expected.idp.keys)?;
    let inner = match place.is_encrypted {
        true => None,
        // A second signature must hold too.
        false => verified(place.assertion, expected)?,
    };
    let text = utf8(&bytes)?;
    let document = message::read(text, "Response")?;
    let root = document.root_element();
    let facts = Facts::read(root, expected)?;
    let place = check_shape(root)?;
    let statement = match (place.is_encrypted, inner) {
        (true, _) => {
            let plain = decrypt::decrypt(place.assertion, &expected.config.key, random)?;
            let document = read_assertion(&plain)?;
            let inner = verified(document.root_element(), expected)?;
            match inner {
                Some(bytes) => statement(&bytes, &facts, expected)?,
                None => state(document.root_element(), &facts, expected)?,
            }
        }
        (false, Some(bytes)) => statement(&bytes, &facts, expected)?,
        (false, None) => state(place.assertion, &facts, expected)?,
    };
    Ok(Opened::whole(statement))
}

impl Opened {
    fn whole(statement: Statement) -> Self {
        Self::Whole(Box::new(statement))
    }
}

impl Sealed {
    /// Decrypts, and demands a signature inside.
    pub(super) fn unseal(&self, expected: &Expected, random: &dyn Random) -> Checked<Statement> {
        let document = message::read(&self.text, "Response")?;
        let root = document.root_element();
        let place = check_shape(root)?;
        let facts = Facts::read(root, expected)?;
        let plain = decrypt::decrypt(place.assertion, &expected.config.key, random)?;
        let document = read_assertion(&plain)?;
        let bytes = verified(document.root_element(), expected)?.ok_or(Rejected::Signature("nothing is signed"))?;
        statement(&bytes, &facts, expected)
    }
}

struct Place<'a, 'i> {
    /// The assertion, or its encrypted form.
    assertion: Node<'a, 'i>,
    is_encrypted: bool,
}

/// A response, its signature, its status and one assertion; nothing that is called like them anywhere else.
fn check_shape<'a, 'i>(root: Node<'a, 'i>) -> Checked<Place<'a, 'i>> {
    attributes_are(
        root,
        &[
            "ID",
            "Version",
            "IssueInstant",
            "Destination",
            "InResponseTo",
            "Consent",
        ],
    )?;
    // Who could not be signed in is told so, with no assertion.
    check_status(root)?;
    let parts = [
        part(ASSERTION, "Issuer", 0, 1),
        part(DSIG, "Signature", 0, 1),
        part(PROTOCOL, "Status", 1, 1),
        part(ASSERTION, "Assertion", 0, 1),
        part(ASSERTION, "EncryptedAssertion", 0, 1),
    ];
    sequence(
        root,
        &parts,
        "the response is not an issuer, a signature, a status and one assertion",
    )?;
    let plain = xml::only(root, ASSERTION, "Assertion");
    let encrypted = xml::only(root, ASSERTION, "EncryptedAssertion");
    let place = match (plain, encrypted) {
        (Some(assertion), None) => Place {
            assertion,
            is_encrypted: false,
        },
        (None, Some(assertion)) => Place {
            assertion,
            is_encrypted: true,
        },
        _ => return Err(Rejected::Shape("the response holds not exactly one assertion")),
    };
    check_twins(root, place.assertion)?;
    if !place.is_encrypted {
        check_assertion(place.assertion)?;
    }
    Ok(place)
}

/// Whatever is called as a response, assertion or signature is the one that is read. Namespaces count for nothing here.
fn check_twins(root: Node<'_, '_>, assertion: Node<'_, '_>) -> Checked<()> {
    for node in root.descendants().filter(Node::is_element) {
        let is_known = match node.tag_name().name() {
            "Response" => node == root,
            "Assertion" | "EncryptedAssertion" => node == assertion,
            "Signature" => node.parent() == Some(root) || node.parent() == Some(assertion),
            _ => true,
        };
        must(is_known, Rejected::Shape("a second response, assertion or signature"))?;
    }
    Ok(())
}

fn check_assertion(assertion: Node<'_, '_>) -> Checked<()> {
    attributes_are(assertion, &["ID", "Version", "IssueInstant"])?;
    let parts = [
        part(ASSERTION, "Issuer", 1, 1),
        part(DSIG, "Signature", 0, 1),
        part(ASSERTION, "Subject", 1, 1),
        part(ASSERTION, "Conditions", 1, 1),
    ];
    let statements = ["AuthnStatement", "AttributeStatement"];
    message::no_loose_text(assertion)?;
    let is_statement = |node: &Node<'_, '_>| statements.iter().any(|name| xml::is_named(*node, ASSERTION, name));
    let mut children = xml::elements(assertion).filter(|node| !is_statement(node)).peekable();
    for part in parts {
        let there = children
            .next_if(|child| xml::is_named(*child, part.namespace, part.name))
            .is_some();
        must(
            there || part.least == 0,
            Rejected::Shape("the assertion lacks its issuer, subject or conditions"),
        )?;
    }
    must(
        children.next().is_none(),
        Rejected::Shape("the assertion holds something unknown"),
    )
}

/// A decrypted assertion, in the same shape as one that was not encrypted.
fn read_assertion(plain: &str) -> Checked<Document<'_>> {
    let document = xml::read(plain, BOUNDS).map_err(|_| Rejected::Encryption)?;
    let root = document.root_element();
    must(xml::is_named(root, ASSERTION, "Assertion"), Rejected::Encryption)?;
    check_ids(&document)?;
    check_twins(root, root)?;
    check_assertion(root)?;
    Ok(document)
}

/// The bytes that an assertion's own signature covers; `None` where it has none.
fn verified(assertion: Node<'_, '_>, expected: &Expected) -> Checked<Option<Vec<u8>>> {
    let Some(signature) = xml::only(assertion, DSIG, "Signature") else {
        return Ok(None);
    };
    id_of(assertion)?;
    signature::verify(assertion, signature, &expected.idp.keys).map(Some)
}

fn utf8(bytes: &[u8]) -> Checked<&str> {
    std::str::from_utf8(bytes).map_err(|_| Rejected::Signature("it is not about UTF-8 text"))
}

/// Of the response itself.
struct Facts {
    in_response_to: Option<String>,
}

impl Facts {
    fn read(root: Node<'_, '_>, expected: &Expected) -> Checked<Self> {
        check_issue(root, expected.now)?;
        check_issuer(root, &expected.idp.entity_id)?;
        check_destination(root, &expected.acs)?;
        Ok(Self {
            in_response_to: root.attribute("InResponseTo").map(str::to_owned),
        })
    }
}

/// Reads the very bytes that were signed.
fn statement(bytes: &[u8], facts: &Facts, expected: &Expected) -> Checked<Statement> {
    let document = xml::read(utf8(bytes)?, BOUNDS)?;
    state(document.root_element(), facts, expected)
}

/// For the fuzzer, which cannot sign.
#[cfg(fuzzing)]
pub(super) fn read_behind_the_signature(text: &str, expected: &Expected) {
    let Ok(document) = xml::read(text, BOUNDS) else { return };
    let root = document.root_element();
    let assertion = root
        .descendants()
        .find(|node| xml::is_named(*node, ASSERTION, "Assertion"));
    let facts = Facts {
        in_response_to: root.attribute("InResponseTo").map(str::to_owned),
    };
    if let Some(statement) = assertion.and_then(|assertion| state(assertion, &facts, expected).ok()) {
        let _ = super::person::person(&expected.config, &statement);
    }
}

fn state(assertion: Node<'_, '_>, facts: &Facts, expected: &Expected) -> Checked<Statement> {
    must(
        xml::is_named(assertion, ASSERTION, "Assertion"),
        Rejected::Shape("what is signed is no assertion"),
    )?;
    check_assertion(assertion)?;
    check_issue(assertion, expected.now)?;
    check_issuer(assertion, &expected.idp.entity_id)?;
    let child = |name| xml::only(assertion, ASSERTION, name).ok_or(Rejected::Shape("the assertion lacks a part"));
    let name_id = subject(child("Subject")?, facts, expected)?;
    conditions(child("Conditions")?, expected)?;
    let authn = child("AuthnStatement").map_err(|_| Rejected::Condition("there is not one AuthnStatement"))?;
    attributes_are(authn, &["AuthnInstant", "SessionIndex", "SessionNotOnOrAfter"])?;
    let authenticated_at = time_of(authn, "AuthnInstant")?.ok_or(Rejected::Condition("AuthnInstant is missing"))?;
    must(
        authenticated_at <= expected.now.plus(SKEW),
        Rejected::Condition("AuthnInstant is in the future"),
    )?;
    let session_until = time_of(authn, "SessionNotOnOrAfter")?;
    must(
        session_until.is_none_or(|end| expected.now < end.plus(SKEW)),
        Rejected::Condition("SessionNotOnOrAfter has passed"),
    )?;
    let authn_context = xml::only(authn, ASSERTION, "AuthnContext")
        .and_then(|context| xml::only(context, ASSERTION, "AuthnContextClassRef"))
        .and_then(xml::text_of);
    Ok(Statement {
        assertion_id: id_of(assertion)?.to_owned(),
        in_response_to: facts.in_response_to.clone(),
        name_id,
        session_index: authn.attribute("SessionIndex").map(str::to_owned),
        session_until,
        authenticated_at,
        authn_context,
        attributes: attributes(assertion)?,
    })
}

/// Who it is, if whoever brings the assertion may be taken for them.
fn subject(subject: Node<'_, '_>, facts: &Facts, expected: &Expected) -> Checked<NameId> {
    let parts = [
        part(ASSERTION, "NameID", 1, 1),
        part(ASSERTION, "SubjectConfirmation", 1, 8),
    ];
    sequence(subject, &parts, "the subject is not a NameID and its confirmation")?;
    let name_id = xml::only(subject, ASSERTION, "NameID").ok_or(Rejected::Shape("the subject has no NameID"))?;
    let name_id = NameId::read(name_id)?;
    // Of several confirmations one must hold; the others may be for other ways.
    let mut verdict = Err(Rejected::Condition("there is no bearer SubjectConfirmation"));
    for confirmation in xml::named(subject, ASSERTION, "SubjectConfirmation") {
        if confirmation.attribute("Method") != Some(BEARER) {
            continue;
        }
        verdict = confirm(confirmation, facts, expected);
        if verdict.is_ok() {
            break;
        }
    }
    verdict.map(|()| name_id)
}

fn confirm(confirmation: Node<'_, '_>, facts: &Facts, expected: &Expected) -> Checked<()> {
    let data = xml::only(confirmation, ASSERTION, "SubjectConfirmationData")
        .ok_or(Rejected::Condition("SubjectConfirmationData is missing"))?;
    match data.attribute("Recipient") {
        None => return Err(Rejected::Condition("Recipient is missing")),
        Some(recipient) => must(
            recipient == expected.acs,
            Rejected::Condition("Recipient is another place"),
        )?,
    }
    must(
        data.attribute("InResponseTo") == facts.in_response_to.as_deref(),
        Rejected::Condition("response and assertion answer different requests"),
    )?;
    if let Some(start) = time_of(data, "NotBefore")? {
        must(
            start <= expected.now.plus(SKEW),
            Rejected::Condition("SubjectConfirmationData is not valid yet"),
        )?;
    }
    let end = time_of(data, "NotOnOrAfter")?;
    let end = end.ok_or(Rejected::Condition(
        "NotOnOrAfter of SubjectConfirmationData is missing",
    ))?;
    must(
        expected.now < end.plus(SKEW),
        Rejected::Condition("SubjectConfirmationData has expired"),
    )
}

fn conditions(conditions: Node<'_, '_>, expected: &Expected) -> Checked<()> {
    attributes_are(conditions, &["NotBefore", "NotOnOrAfter"])?;
    message::no_loose_text(conditions)?;
    let bound = |name, missing| time_of(conditions, name)?.ok_or(Rejected::Condition(missing));
    let start = bound("NotBefore", "NotBefore of Conditions is missing")?;
    let end = bound("NotOnOrAfter", "NotOnOrAfter of Conditions is missing")?;
    must(
        start <= expected.now.plus(SKEW),
        Rejected::Condition("the assertion is not valid yet"),
    )?;
    must(
        expected.now < end.plus(SKEW),
        Rejected::Condition("the assertion has expired"),
    )?;
    let mut restrictions = 0;
    for condition in xml::elements(conditions) {
        if xml::is_named(condition, ASSERTION, "AudienceRestriction") {
            restrictions += 1;
            let ours = xml::named(condition, ASSERTION, "Audience")
                .any(|audience| xml::text_of(audience).as_deref() == Some(expected.config.entity_id.as_str()));
            must(ours, Rejected::Condition("an AudienceRestriction names somebody else"))?;
        } else {
            let is_harmless = ["OneTimeUse", "ProxyRestriction"]
                .iter()
                .any(|name| xml::is_named(condition, ASSERTION, name));
            must(is_harmless, Rejected::Condition("a condition that is not understood"))?;
        }
    }
    must(restrictions > 0, Rejected::Condition("AudienceRestriction is missing"))
}

impl NameId {
    pub(super) fn read(node: Node<'_, '_>) -> Checked<Self> {
        attributes_are(node, &["Format", "NameQualifier", "SPNameQualifier", "SPProvidedID"])?;
        let value = xml::text_of(node).filter(|value| !value.is_empty() && value.len() <= 1024);
        let value = value.filter(|value| !value.chars().any(char::is_control));
        let attribute = |name| node.attribute(name).map(str::to_owned);
        Ok(Self {
            value: value.ok_or(Rejected::Shape("the NameID is empty, too long or no plain text"))?,
            format: attribute("Format"),
            name_qualifier: attribute("NameQualifier"),
            sp_name_qualifier: attribute("SPNameQualifier"),
        })
    }
}

fn attributes(assertion: Node<'_, '_>) -> Checked<Vec<Attribute>> {
    let (mut found, mut values) = (Vec::new(), 0);
    for statement in xml::named(assertion, ASSERTION, "AttributeStatement") {
        attributes_are(statement, &[])?;
        sequence(
            statement,
            &[part(ASSERTION, "Attribute", 0, usize::MAX)],
            "an AttributeStatement with something else than attributes",
        )?;
        for attribute in xml::elements(statement) {
            let attribute = Attribute::read(attribute)?;
            values += attribute.values.len();
            must(
                values <= MOST_VALUES,
                Rejected::Shape("more attribute values than are read"),
            )?;
            found.push(attribute);
        }
    }
    Ok(found)
}

impl Attribute {
    fn read(node: Node<'_, '_>) -> Checked<Self> {
        let name = node.attribute("Name").filter(|name| !name.is_empty());
        let name = name.ok_or(Rejected::Shape("an attribute without a name"))?;
        message::no_loose_text(node)?;
        let mut values = Vec::new();
        for value in xml::elements(node) {
            must(
                xml::is_named(value, ASSERTION, "AttributeValue"),
                Rejected::Shape("an attribute with something else than values"),
            )?;
            must(
                !value.has_attribute((XML_NAMESPACE, "base")),
                Rejected::Shape("an xml:base"),
            )?;
            // A value that is made of elements is for others.
            values.extend(xml::text_of(value).filter(|text| !text.is_empty()));
        }
        Ok(Self {
            name: name.to_owned(),
            friendly_name: node.attribute("FriendlyName").map(str::to_owned),
            values,
        })
    }
}
