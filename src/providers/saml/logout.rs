//! Single logout: the provider's request to end sessions, and its answer to ours.

use roxmltree::Node;

use super::message::{
    self, ASSERTION, DSIG, PROTOCOL, SKEW, attributes_are, check_destination, check_issue, check_issuer, check_status,
    id_of, part, sequence, time_of,
};
use super::rejected::{Checked, Rejected, must};
use super::response::NameId;
use super::signature;
use crate::config::IdpMetadata;
use crate::domain::Timestamp;
use crate::domain::xml;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Request(Request),
    Answer(Answer),
}

/// Whose sessions are to end: those with the indexes, or all where there are none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) session_indexes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) in_response_to: String,
    /// Why not all sessions ended, where that is so.
    pub(super) trouble: Option<String>,
}

pub(super) struct Expected<'a> {
    pub(super) idp: &'a IdpMetadata,
    /// Our own endpoint.
    pub(super) slo: &'a str,
    pub(super) now: Timestamp,
}

/// By the POST binding: the signature stands in the message.
pub(super) fn posted(text: &str, is_request: bool, expected: &Expected<'_>) -> Checked<Message> {
    let document = message::read(text, root(is_request))?;
    check_shape(document.root_element(), is_request)?;
    let signature = xml::only(document.root_element(), DSIG, "Signature");
    let signature = signature.ok_or(Rejected::Signature("nothing is signed"))?;
    let bytes = signature::verify(document.root_element(), signature, &expected.idp.keys)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Rejected::Signature("it is not about UTF-8 text"))?;
    read(text, is_request, expected)
}

/// By the redirect binding: the query was signed, and the message itself must not be.
pub(super) fn redirected(text: &str, is_request: bool, expected: &Expected<'_>) -> Checked<Message> {
    read(text, is_request, expected)
}

fn root(is_request: bool) -> &'static str {
    if is_request { "LogoutRequest" } else { "LogoutResponse" }
}

/// What is read here was signed: by itself without its signature, or as part of the query.
fn read(text: &str, is_request: bool, expected: &Expected<'_>) -> Checked<Message> {
    let document = message::read(text, root(is_request))?;
    let message = document.root_element();
    must(
        xml::only(message, DSIG, "Signature").is_none(),
        Rejected::Shape("a signature in a message that is signed from outside"),
    )?;
    check_shape(message, is_request)?;
    check_issue(message, expected.now)?;
    check_issuer(message, &expected.idp.entity_id)?;
    check_destination(message, expected.slo)?;
    if !is_request {
        let in_response_to = message.attribute("InResponseTo");
        return Ok(Message::Answer(Answer {
            in_response_to: in_response_to
                .ok_or(Rejected::Condition("InResponseTo is missing"))?
                .to_owned(),
            trouble: check_status(message).err().map(|rejected| rejected.to_string()),
        }));
    }
    if let Some(end) = time_of(message, "NotOnOrAfter")? {
        must(
            expected.now < end.plus(SKEW),
            Rejected::Condition("the request has expired"),
        )?;
    }
    let name = xml::only(message, ASSERTION, "NameID").ok_or(Rejected::Shape("the request has no NameID"))?;
    let session_indexes = xml::named(message, PROTOCOL, "SessionIndex").map(xml::text_of);
    Ok(Message::Request(Request {
        id: id_of(message)?.to_owned(),
        name: NameId::read(name)?.value,
        session_indexes: session_indexes
            .collect::<Option<Vec<_>>>()
            .ok_or(Rejected::Shape("a SessionIndex that is no text"))?,
    }))
}

fn check_shape(message: Node<'_, '_>, is_request: bool) -> Checked<()> {
    let own = if is_request {
        ["NotOnOrAfter", "Reason"]
    } else {
        ["InResponseTo", ""]
    };
    let shared = ["ID", "Version", "IssueInstant", "Destination", "Consent"];
    attributes_are(message, &[shared.as_slice(), &own].concat())?;
    let head = [part(ASSERTION, "Issuer", 0, 1), part(DSIG, "Signature", 0, 1)];
    let body = match is_request {
        true => [part(ASSERTION, "NameID", 1, 1), part(PROTOCOL, "SessionIndex", 0, 64)],
        false => [part(PROTOCOL, "Status", 1, 1), part(PROTOCOL, "Status", 0, 0)],
    };
    sequence(
        message,
        &[head, body].concat(),
        "the message is not an issuer, a signature and what it is about",
    )
}
