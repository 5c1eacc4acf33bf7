//! The redirect binding: messages that are deflated into a query, and signed over the query's very bytes.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

use super::algorithm::{Method, RSA_SHA256};
use super::message::BOUNDS;
use super::outgoing;
use super::rejected::{Checked, Rejected, must};
use crate::config::{IdpKey, SamlKey};
use crate::domain::xml::XmlError;

/// Longer queries are no message of a provider. Bytes.
const LONGEST: usize = 64 << 10;

/// One message out of a query.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) text: String,
    pub(super) is_request: bool,
    pub(super) relay_state: Option<String>,
}

/// The URL that carries a signed message; `name` is `SAMLRequest` or `SAMLResponse`.
///
/// # Errors
/// When our own key does not sign.
pub(super) fn url(
    to: &Url,
    name: &str,
    text: &str,
    relay_state: Option<&str>,
    key: &SamlKey,
) -> Result<String, String> {
    let mut deflater = DeflateEncoder::new(Vec::new(), Compression::default());
    let packed = deflater.write_all(text.as_bytes()).and_then(|()| deflater.finish());
    let packed = STANDARD.encode(packed.map_err(|error| error.to_string())?);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair(name, &packed);
    if let Some(relay_state) = relay_state {
        query.append_pair("RelayState", relay_state);
    }
    query.append_pair("SigAlg", RSA_SHA256);
    let query = query.finish();
    let signature = STANDARD.encode(outgoing::sign(query.as_bytes(), key)?);
    let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
    let between = if to.query().is_some() { '&' } else { '?' };
    Ok(format!("{to}{between}{query}&Signature={signature}"))
}

/// The message in a query, whose signature must hold over the query as it was received.
pub(super) fn receive(query: &str, keys: &[IdpKey]) -> Checked<Received> {
    must(query.len() <= LONGEST, Rejected::Binding("the query is too long"))?;
    let raw = |name: &str| -> Checked<Option<&str>> {
        let mut values = query.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Any spelling of the name counts, so that none hides a second value.
            percent_decode_str(key).eq(name.bytes()).then_some((key, value))
        });
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((key, value)), None) if key == name => Ok(Some(value)),
            _ => Err(Rejected::Binding(
                "a parameter that stands there twice or is spelt oddly",
            )),
        }
    };
    let (name, packed) = match (raw("SAMLRequest")?, raw("SAMLResponse")?) {
        (Some(packed), None) => ("SAMLRequest", packed),
        (None, Some(packed)) => ("SAMLResponse", packed),
        _ => return Err(Rejected::Binding("the query holds not exactly one message")),
    };
    must(
        raw("SAMLEncoding")?
            .is_none_or(|coding| decoded(coding) == "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"),
        Rejected::Binding("another encoding than DEFLATE"),
    )?;
    let relay_state = raw("RelayState")?;
    let algorithm = raw("SigAlg")?.ok_or(Rejected::Signature("nothing is signed"))?;
    let signature = raw("Signature")?.ok_or(Rejected::Signature("nothing is signed"))?;
    let method = Method::named(&decoded(algorithm))?;
    let signature = STANDARD
        .decode(decoded(signature))
        .map_err(|_| Rejected::Signature("its value is empty or no base64"))?;
    let mut signed = format!("{name}={packed}");
    if let Some(relay_state) = relay_state {
        signed.push_str("&RelayState=");
        signed.push_str(relay_state);
    }
    signed.push_str("&SigAlg=");
    signed.push_str(algorithm);
    method.verify(keys, signed.as_bytes(), &signature)?;
    Ok(Received {
        text: inflate(&decoded(packed))?,
        is_request: name == "SAMLRequest",
        relay_state: relay_state.map(decoded),
    })
}

fn decoded(value: &str) -> String {
    let value = value.replace('+', " ");
    percent_decode_str(&value).decode_utf8_lossy().into_owned()
}

/// Stops at the bound, however much more the bytes would give.
fn inflate(packed: &str) -> Checked<String> {
    let packed: String = packed.split_ascii_whitespace().collect();
    let packed = STANDARD
        .decode(packed)
        .map_err(|_| Rejected::Binding("the message is no base64"))?;
    let mut bytes = Vec::new();
    let most = BOUNDS.size as u64 + 1;
    let read = DeflateDecoder::new(packed.as_slice())
        .take(most)
        .read_to_end(&mut bytes);
    read.map_err(|_| Rejected::Binding("the message cannot be inflated"))?;
    must(
        bytes.len() <= BOUNDS.size,
        Rejected::Document(XmlError::Size(BOUNDS.size)),
    )?;
    String::from_utf8(bytes).map_err(|_| Rejected::Binding("the message is not UTF-8 text"))
}
