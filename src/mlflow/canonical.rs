//! One spelling of path and query: what could be read in a second way is refused, so what was checked is what is sent.

use std::fmt::Write as _;

use http::Method;

use super::MlflowError;

/// A request target in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Decoded once. `/` is one empty segment; a trailing slash gives an empty last one.
    pub segments: Vec<String>,
    /// Decoded once, in order.
    pub query: Vec<(String, String)>,
    /// As it is sent: encoded again.
    pub text: String,
}

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

/// Methods are upper case and of a few; everything else is no method of MLflow.
///
/// # Errors
/// `Malformed` for anything else.
pub fn method(text: &str) -> Result<Method, MlflowError> {
    match text {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        "OPTIONS" => Ok(Method::OPTIONS),
        _ => Err(malformed("This method is not known.")),
    }
}

/// Reads a raw path and query.
///
/// # Errors
/// `Malformed` for every path or query that has a second reading: escapes of plain characters, of slashes or of percent
/// signs that hide a further escape, dot segments, empty segments, parameters after `;`, backslashes, control characters,
/// text that is not UTF-8.
pub fn target(path: &str, query: Option<&str>) -> Result<Target, MlflowError> {
    let rest = path
        .strip_prefix('/')
        .ok_or_else(|| malformed("The path must start with a slash."))?;
    let mut segments = Vec::with_capacity(8);
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() && parts.peek().is_some() {
            return Err(malformed("The path has an empty segment."));
        }
        segments.push(segment(part)?);
    }
    let query = pairs(query.unwrap_or_default())?;
    let text = spell(&segments, &query);
    Ok(Target { segments, query, text })
}

fn spell(segments: &[String], query: &[(String, String)]) -> String {
    let parts = segments
        .iter()
        .chain(query.iter().flat_map(|(name, value)| [name, value]));
    let mut text = String::with_capacity(parts.map(|part| part.len() + 1).sum());
    for segment in segments {
        text.push('/');
        encode(segment, is_plain_in_path, &mut text);
    }
    for (index, (name, value)) in query.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        encode(name, is_unreserved, &mut text);
        text.push('=');
        encode(value, is_unreserved, &mut text);
    }
    text
}

fn encode(text: &str, plain: fn(u8) -> bool, out: &mut String) {
    if text.bytes().all(plain) {
        return out.push_str(text);
    }
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 `pchar` without `;`.
fn is_plain_in_path(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

fn segment(raw: &str) -> Result<String, MlflowError> {
    let mut escaped_plain = false;
    let decoded = decode(raw, |byte, escaped| {
        escaped_plain |= escaped && is_unreserved(byte);
        escaped || is_plain_in_path(byte)
    })?;
    if escaped_plain {
        return Err(malformed("The path escapes a character that needs none."));
    }
    if decoded == "." || decoded == ".." {
        return Err(malformed("The path has a dot segment."));
    }
    if decoded.contains(['/', '\\', ';']) {
        return Err(malformed("The path hides a separator."));
    }
    if hides_escape(&decoded) {
        return Err(malformed("The path is escaped twice."));
    }
    Ok(decoded)
}

/// Whether decoding once more would change a text: MLflow decodes some paths until they stop changing.
pub fn hides_escape(text: &str) -> bool {
    text.contains('%')
        && text
            .as_bytes()
            .windows(3)
            .any(|three| three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit())
}

fn decode(raw: &str, mut allowed: impl FnMut(u8, bool) -> bool) -> Result<String, MlflowError> {
    if raw.bytes().all(is_plain_in_path) && raw.bytes().all(|byte| allowed(byte, false)) {
        return Ok(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [byte, after @ ..] = rest {
        let (byte, escaped, left) = match (byte, after) {
            (b'%', [high, low, left @ ..]) => {
                let digit = |byte: &u8| {
                    char::from(*byte)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                    return Err(malformed("A percent sign is followed by no hexadecimal number."));
                };
                (high * 16 + low, true, left)
            }
            (b'%', _) => return Err(malformed("A percent sign is followed by no hexadecimal number.")),
            (byte, left) => (*byte, false, left),
        };
        if !allowed(byte, escaped) {
            return Err(malformed("The address has a character that must be escaped."));
        }
        bytes.push(byte);
        rest = left;
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("The address is not UTF-8."))?;
    if text.chars().any(char::is_control) {
        return Err(malformed("The address has a control character."));
    }
    Ok(text)
}

/// The query's pairs. A plus sign is a space, as MLflow's clients write it. Empty pairs, pairs without a name and names in
/// other than plain characters are refused.
fn pairs(raw: &str) -> Result<Vec<(String, String)>, MlflowError> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for pair in raw.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(malformed("The query has a name that is not plain."));
        }
        let spaced = value.contains('+').then(|| value.replace('+', "%20"));
        let value = decode(spaced.as_deref().unwrap_or(value), |byte, escaped| {
            escaped || is_plain_in_path(byte) || b"/?;[]\"<>{}|^`".contains(&byte)
        })?;
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn refused(path: &str) -> bool {
        matches!(target(path, None), Err(MlflowError::Malformed(_)))
    }

    #[test]
    fn a_plain_path_is_itself() {
        for path in [
            "/",
            "/api/2.0/mlflow/runs/get",
            "/ajax-api/3.0/jobs/",
            "/api/2.0/mlflow-artifacts/artifacts/1/0123456789abcdef0123456789abcdef/artifacts/a%20b/%C3%A9.txt",
            "/gateway/gemini/v1beta/models/m:generateContent",
            "/api/3.0/mlflow/skills/@org/name",
            "/static-files/static/js/main.1a2b3c.js",
        ] {
            assert_eq!(target(path, None).unwrap().text, path);
        }
    }

    #[test]
    fn an_escape_of_a_plain_character_is_refused() {
        assert!(refused("/%61pi/2.0/mlflow/runs/get"));
        assert!(refused("/api/2.0/mlflow/runs/g%65t"));
        assert!(refused("/api/2.0/mlflow-artifacts/artifacts/%32/x"));
        assert!(refused("/api/2%2e0/mlflow/runs/get"));
    }

    #[test]
    fn an_escaped_slash_or_backslash_is_refused() {
        for path in ["/api/2.0/mlflow/runs%2Fget", "/api%2f2.0/x", "/a%5cb", "/a\\b"] {
            assert!(refused(path), "{path}");
        }
    }

    #[test]
    fn an_empty_segment_is_refused() {
        for path in [
            "//api/2.0/mlflow/runs/get",
            "/api/2.0//mlflow/runs/get",
            "/api/2.0/mlflow/runs/get//",
            "api",
            "",
        ] {
            assert!(refused(path), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_refused_in_any_spelling() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/.%2e/b",
            "/a/%2E/b",
            "/..;/admin",
            "/a/..",
            "/a/.",
            "/a/..%2fb",
        ] {
            assert!(refused(path), "{path}");
        }
        assert!(!refused("/a/.../b"), "three dots are a name");
    }

    #[test]
    fn parameters_fragments_and_control_characters_are_refused() {
        for path in [
            "/admin;x=1",
            "/a%3bb",
            "/a%0ab",
            "/a%00",
            "/a%7f",
            "/a b",
            "/a\tb",
            "/a#b",
            "/a?b",
            "/a\"b",
            "/%",
        ] {
            assert!(refused(path), "{path}");
        }
    }

    #[test]
    fn what_would_decode_again_is_refused() {
        for path in ["/%252532/x", "/2%252fx", "/a%2561", "/%25%32%65"] {
            assert!(refused(path), "{path}");
        }
        assert_eq!(target("/100%25", None).unwrap().segments, ["100%"]);
    }

    #[test]
    fn what_is_no_utf8_is_refused() {
        assert!(refused("/%ff"));
        assert!(refused("/\u{e9}"), "raw bytes above ASCII must be escaped");
        assert!(matches!(target("/a", Some("a=%ff")), Err(MlflowError::Malformed(_))));
    }

    #[test]
    fn a_query_is_decoded_once_and_spelt_again() {
        let read = target("/a", Some("run_id=x&filter=a+%3D%20'b%2Fc'&empty")).unwrap();
        let pairs: Vec<_> = read
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("run_id", "x"), ("filter", "a = 'b/c'"), ("empty", "")]);
        assert_eq!(read.text, "/a?run_id=x&filter=a%20%3D%20%27b%2Fc%27&empty=");
        for query in ["&a=1", "a=1&", "=1", "r%75n_id=1", "a=%0a", "a=%", "a=\u{1}"] {
            assert!(
                matches!(target("/a", Some(query)), Err(MlflowError::Malformed(_))),
                "{query:?}"
            );
        }
    }

    #[test]
    fn a_method_in_other_letters_is_refused() {
        for text in ["get", "Get", "TRACE", "CONNECT", "PROPFIND", ""] {
            assert!(method(text).is_err(), "{text}");
        }
        assert_eq!(method("GET").unwrap(), Method::GET);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_spelt_the_same_for_good(path in "/[a-zA-Z0-9%./;\\\\_ -]{0,40}", query in "[a-z=&%+0-9/]{0,30}") {
            if let Ok(once) = target(&path, Some(&query)) {
                let (path, query) = once.text.split_once('?').map_or((once.text.as_str(), None), |(path, query)| (path, Some(query)));
                let twice = target(path, query);
                prop_assert!(twice.is_ok());
                prop_assert_eq!(twice.ok(), Some(once));
            }
        }
    }
}
