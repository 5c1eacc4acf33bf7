//! Enveloped XML signatures, in the one shape that is allowed. What holds is handed out as bytes, to be read instead of the
//! document that they came in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

use super::algorithm::{ENVELOPED, EXCLUSIVE, Hash, Method};
use super::canonical::canonical;
use super::message::{BOUNDS, DSIG, attributes_are, children_are, no_loose_text};
use super::rejected::{Checked, Rejected, must};
use crate::config::IdpKey;
use crate::domain::xml;

/// Prefixes of a list beyond this are no signature's.
const MOST_PREFIXES: usize = 32;

/// What `KeyInfo` may hold. None of it is read.
const KEY_INFO: [&str; 17] = [
    "KeyName",
    "KeyValue",
    "RSAKeyValue",
    "Modulus",
    "Exponent",
    "ECKeyValue",
    "NamedCurve",
    "PublicKey",
    "X509Data",
    "X509Certificate",
    "X509SubjectName",
    "X509IssuerSerial",
    "X509IssuerName",
    "X509SerialNumber",
    "X509SKI",
    "X509Digest",
    "X509CRL",
];
const DSIG11: &str = "http://www.w3.org/2009/xmldsig11#";

/// Verifies the signature that is a child of `signed` and covers it.
///
/// Gives the canonical bytes of `signed` without the signature: read those, and nothing else.
///
/// # Errors
/// When the signature has another shape, covers something else, or was made by none of the keys.
pub(super) fn verify(signed: Node<'_, '_>, signature: Node<'_, '_>, keys: &[IdpKey]) -> Checked<Vec<u8>> {
    children_are(signature, DSIG, &["SignedInfo", "SignatureValue"], &["KeyInfo"])?;
    attributes_are(signature, &["Id"])?;
    let info = child(signature, "SignedInfo")?;
    let said = SignedInfo::read(info)?;
    let value = child(signature, "SignatureValue")?;
    attributes_are(value, &["Id"])?;
    let value = base64_of(value).filter(|value| !value.is_empty());
    let value = value.ok_or(Rejected::Signature("its value is empty or no base64"))?;
    if let Some(key_info) = xml::only(signature, DSIG, "KeyInfo") {
        check_key_info(key_info)?;
    }
    let bytes = canonical(info, None, &said.prefixes());
    said.method.verify(keys, &bytes, &value)?;
    // From here on the provider's own words count: those that its key has signed.
    let text = std::str::from_utf8(&bytes).map_err(|_| Rejected::Signature("it is not about UTF-8 text"))?;
    let document = xml::read(text, BOUNDS)?;
    let reference = SignedInfo::read(document.root_element())?.reference;
    let id = signed.attribute("ID").unwrap_or_default();
    must(
        !id.is_empty() && reference.uri.strip_prefix('#') == Some(id),
        Rejected::Signature("it is not about the element that it stands in"),
    )?;
    let bytes = canonical(signed, Some(signature.id()), &reference.prefixes());
    must(
        reference.hash.of(&bytes).as_ref() == reference.digest,
        Rejected::Signature("what it is about was changed"),
    )?;
    Ok(bytes)
}

struct SignedInfo {
    method: Method,
    prefix_list: String,
    reference: Reference,
}

struct Reference {
    uri: String,
    hash: Hash,
    digest: Vec<u8>,
    prefix_list: String,
}

impl SignedInfo {
    fn read(info: Node<'_, '_>) -> Checked<Self> {
        must(
            xml::is_named(info, DSIG, "SignedInfo"),
            Rejected::Shape("there is no SignedInfo"),
        )?;
        attributes_are(info, &["Id"])?;
        children_are(
            info,
            DSIG,
            &["CanonicalizationMethod", "SignatureMethod", "Reference"],
            &[],
        )?;
        let method = child(info, "SignatureMethod")?;
        must(
            method.children().next().is_none(),
            Rejected::Shape("a SignatureMethod with parameters"),
        )?;
        Ok(Self {
            method: Method::named(algorithm(method)?)?,
            prefix_list: exclusive(child(info, "CanonicalizationMethod")?)?,
            reference: Reference::read(child(info, "Reference")?)?,
        })
    }

    fn prefixes(&self) -> Vec<&str> {
        self.prefix_list.split_ascii_whitespace().collect()
    }
}

impl Reference {
    fn read(reference: Node<'_, '_>) -> Checked<Self> {
        attributes_are(reference, &["URI", "Id"])?;
        children_are(reference, DSIG, &["Transforms", "DigestMethod", "DigestValue"], &[])?;
        let uri = reference.attribute("URI").unwrap_or_default();
        must(
            uri.starts_with('#') && uri.len() > 1,
            Rejected::Shape("a reference that is not to an ID of this message"),
        )?;
        let transforms = child(reference, "Transforms")?;
        attributes_are(transforms, &[])?;
        no_loose_text(transforms)?;
        let transforms: Vec<_> = xml::elements(transforms).collect();
        let [enveloped, canonical] = transforms.as_slice() else {
            return Err(Rejected::Algorithm(
                "the transforms are not enveloped-signature and exclusive canonicalization",
            ));
        };
        must(
            [enveloped, canonical]
                .iter()
                .all(|one| xml::is_named(**one, DSIG, "Transform"))
                && algorithm(*enveloped)? == ENVELOPED
                && enveloped.children().next().is_none(),
            Rejected::Algorithm("the transforms are not enveloped-signature and exclusive canonicalization"),
        )?;
        let method = child(reference, "DigestMethod")?;
        must(
            method.children().next().is_none(),
            Rejected::Shape("a DigestMethod with parameters"),
        )?;
        let value = child(reference, "DigestValue")?;
        attributes_are(value, &[])?;
        Ok(Self {
            uri: uri.to_owned(),
            hash: Hash::named(algorithm(method)?)?,
            digest: base64_of(value).ok_or(Rejected::Signature("its digest is no base64"))?,
            prefix_list: exclusive(*canonical)?,
        })
    }

    fn prefixes(&self) -> Vec<&str> {
        self.prefix_list.split_ascii_whitespace().collect()
    }
}

/// The `PrefixList` of exclusive canonicalization, which is the only one that may stand there.
fn exclusive(method: Node<'_, '_>) -> Checked<String> {
    must(
        algorithm(method)? == EXCLUSIVE,
        Rejected::Algorithm("the canonicalization is not the exclusive one without comments"),
    )?;
    children_are(method, EXCLUSIVE, &[], &["InclusiveNamespaces"])?;
    let Some(list) = xml::only(method, EXCLUSIVE, "InclusiveNamespaces") else {
        return Ok(String::new());
    };
    attributes_are(list, &["PrefixList"])?;
    must(
        list.children().next().is_none(),
        Rejected::Shape("InclusiveNamespaces with content"),
    )?;
    let list = list.attribute("PrefixList").unwrap_or_default();
    must(
        list.split_ascii_whitespace().count() <= MOST_PREFIXES,
        Rejected::Shape("a PrefixList without end"),
    )?;
    Ok(list.to_owned())
}

fn algorithm<'a>(method: Node<'a, '_>) -> Checked<&'a str> {
    attributes_are(method, &["Algorithm"])?;
    method
        .attribute("Algorithm")
        .ok_or(Rejected::Shape("a method without an algorithm"))
}

fn child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Checked<Node<'a, 'i>> {
    xml::only(parent, DSIG, name).ok_or(Rejected::Shape("a signature without one of its parts"))
}

fn check_key_info(info: Node<'_, '_>) -> Checked<()> {
    let is_known = |node: Node<'_, '_>| {
        matches!(node.tag_name().namespace(), Some(DSIG | DSIG11)) && KEY_INFO.contains(&node.tag_name().name())
    };
    let mut inside = info.descendants().filter(|node| node.is_element() && *node != info);
    must(
        inside.all(is_known),
        Rejected::Shape("a KeyInfo with something else than names, keys and certificates"),
    )
}

/// The bytes of an element that holds base64, white space counting for nothing.
pub(super) fn base64_of(element: Node<'_, '_>) -> Option<Vec<u8>> {
    let text: String = xml::text_of(element)?.split_ascii_whitespace().collect();
    STANDARD.decode(text).ok()
}
