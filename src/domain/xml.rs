//! XML without surprises: bounded before it is parsed, and never with a DTD, an entity of its own or a CDATA section.

use memchr::{memchr, memmem};
use roxmltree::{Document, Node, NodeType, ParsingOptions};
use thiserror::Error;

/// `xmlns:xml`, which is bound without being declared.
pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// What a document may take.
#[derive(Clone, Copy, Debug)]
pub struct XmlBounds {
    /// Bytes.
    pub size: usize,
    pub depth: usize,
    pub elements: usize,
    /// Of one element, declarations of namespaces among them.
    pub attributes: usize,
    /// Whether comments and processing instructions may stand in it. They are never read.
    pub remarks: bool,
}

/// Why a document is not read. No text of it is in the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum XmlError {
    #[error("it has more than {0} bytes")]
    Size(usize),
    #[error("its elements are nested deeper than {0}")]
    Depth(usize),
    #[error("it has more than {0} elements")]
    Elements(usize),
    #[error("an element has more than {0} attributes")]
    Attributes(usize),
    #[error("it holds a DTD, a CDATA section, a comment or a processing instruction")]
    Markup,
    #[error("it is not XML 1.0 in UTF-8")]
    Declaration,
    #[error("it is not well-formed")]
    Malformed,
}

/// Parses a document that keeps within its bounds. They hold before the parser sees it, so that it has little to chew on.
///
/// # Errors
/// What is wrong with it, without its words.
pub fn read(text: &str, bounds: XmlBounds) -> Result<Document<'_>, XmlError> {
    if text.len() > bounds.size {
        return Err(XmlError::Size(bounds.size));
    }
    let text = without_declaration(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    measure(text.as_bytes(), bounds)?;
    let options = ParsingOptions {
        allow_dtd: false,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|_| XmlError::Malformed)
}

/// Takes the declaration off: the parser would take any version and encoding.
fn without_declaration(text: &str) -> Result<&str, XmlError> {
    let Some(rest) = text
        .strip_prefix("<?xml")
        .filter(|rest| rest.starts_with([' ', '\t', '\r', '\n']))
    else {
        return Ok(text);
    };
    let (said, rest) = rest.split_once("?>").ok_or(XmlError::Declaration)?;
    let said = said.replace('\'', "\"");
    let mut words = said.split_ascii_whitespace();
    let is_known = words.next() == Some("version=\"1.0\"")
        && words.all(|word| {
            word.eq_ignore_ascii_case("encoding=\"utf-8\"")
                || matches!(word, "standalone=\"yes\"" | "standalone=\"no\"")
        });
    is_known.then_some(rest).ok_or(XmlError::Declaration)
}

/// Counts what the parser would build. `<` begins markup wherever it stands, for neither texts nor values may hold it.
fn measure(text: &[u8], bounds: XmlBounds) -> Result<(), XmlError> {
    let (mut at, mut depth, mut elements) = (0, 0_usize, 0_usize);
    while let Some(next) = memchr(b'<', &text[at..]) {
        at += next + 1;
        let rest = &text[at..];
        match rest.first() {
            Some(b'!' | b'?') => at += remark(rest, bounds)?,
            Some(b'/') => depth = depth.checked_sub(1).ok_or(XmlError::Malformed)?,
            Some(_) => {
                let tag = Tag::measure(rest).ok_or(XmlError::Malformed)?;
                at += tag.length;
                elements += 1;
                if elements > bounds.elements {
                    return Err(XmlError::Elements(bounds.elements));
                }
                if tag.attributes > bounds.attributes {
                    return Err(XmlError::Attributes(bounds.attributes));
                }
                if depth >= bounds.depth {
                    return Err(XmlError::Depth(bounds.depth));
                }
                depth += usize::from(!tag.is_empty);
            }
            None => return Err(XmlError::Malformed),
        }
    }
    Ok(())
}

/// The length of a comment or processing instruction, where they may be.
fn remark(rest: &[u8], bounds: XmlBounds) -> Result<usize, XmlError> {
    let end: &[u8] = match rest {
        [b'!', b'-', b'-', ..] => b"-->",
        [b'?', ..] => b"?>",
        _ => return Err(XmlError::Markup),
    };
    if !bounds.remarks {
        return Err(XmlError::Markup);
    }
    memmem::find(rest, end)
        .map(|found| found + end.len())
        .ok_or(XmlError::Malformed)
}

struct Tag {
    /// From behind `<` to behind `>`.
    length: usize,
    attributes: usize,
    is_empty: bool,
}

impl Tag {
    fn measure(rest: &[u8]) -> Option<Self> {
        let (mut at, mut attributes) = (0, 0);
        loop {
            match rest.get(at)? {
                b'>' => {
                    return Some(Self {
                        length: at + 1,
                        attributes,
                        is_empty: at > 0 && rest[at - 1] == b'/',
                    });
                }
                quote @ (b'"' | b'\'') => {
                    at += memchr(*quote, &rest[at + 1..])? + 2;
                    attributes += 1;
                }
                _ => at += 1,
            }
        }
    }
}

/// The element's name as it is written: prefix (empty for none) and local part.
pub fn written_name<'i>(element: Node<'_, 'i>) -> (&'i str, &'i str) {
    let text = element.document().input_text();
    let from = text.get(element.range().start + 1..).unwrap_or_default();
    let end = from.find([' ', '\t', '\r', '\n', '/', '>']).unwrap_or(from.len());
    split_name(&from[..end])
}

/// `prefix:local`; the prefix is empty where there is none.
pub fn split_name(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

pub fn is_named(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().namespace() == Some(namespace) && node.tag_name().name() == name
}

/// Child elements.
pub fn elements<'a, 'i>(parent: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    parent.children().filter(Node::is_element)
}

/// Child elements of one name.
pub fn named<'a, 'i>(parent: Node<'a, 'i>, namespace: &str, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    elements(parent).filter(move |child| is_named(*child, namespace, name))
}

/// The one child element of a name; `None` for none and for several.
pub fn only<'a, 'i>(parent: Node<'a, 'i>, namespace: &str, name: &str) -> Option<Node<'a, 'i>> {
    let mut found = named(parent, namespace, name);
    found.next().filter(|_| found.next().is_none())
}

/// All text of an element that holds nothing else, without white space around it.
pub fn text_of(element: Node<'_, '_>) -> Option<String> {
    let mut text = String::new();
    for child in element.children() {
        match child.node_type() {
            NodeType::Text => text.push_str(child.text().unwrap_or_default()),
            NodeType::Comment => {}
            NodeType::Element | NodeType::PI | NodeType::Root => return None,
        }
    }
    Some(text.trim_matches([' ', '\t', '\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: XmlBounds = XmlBounds {
        size: 4096,
        depth: 4,
        elements: 8,
        attributes: 3,
        remarks: false,
    };

    fn verdict(text: &str) -> Result<(), XmlError> {
        read(text, BOUNDS).map(drop)
    }

    #[test]
    fn a_plain_document_is_read() {
        for text in [
            "<a/>",
            "<?xml version=\"1.0\"?>\n<a x='>' y=\"&lt;/a>\">t&amp;&#x41;</a >",
            "<?xml version='1.0' encoding='UTF-8' standalone=\"no\" ?><a><b><c><d/></c></b></a>\n",
            "\u{feff}<a/>",
        ] {
            assert_eq!(verdict(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn nothing_but_elements_and_text_may_stand_in_it() {
        for text in [
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
            "<a><!-- x --></a>",
            "<a>x<!---->y</a>",
            "<a><![CDATA[x]]></a>",
            "<a><?pi x?></a>",
            "<a/><!-- x -->",
            "<?xml-stylesheet href='x'?><a/>",
        ] {
            assert_eq!(verdict(text), Err(XmlError::Markup), "{text}");
        }
        for text in [
            "<a>&e;</a>",
            "<a><b></a></b>",
            "<a/><b/>",
            "<a",
            "<a x=1/>",
            "",
            "x",
            "</a>",
            "<a>]]></a",
            "<p:a/>",
            "<a>\u{1}</a>",
            "<a>&#0;</a>",
            "<a x='1' y='2' x='3'/>",
        ] {
            assert_eq!(verdict(text), Err(XmlError::Malformed), "{text}");
        }
        for text in [
            "<?xml version=\"1.1\"?><a/>",
            "<?xml version=\"1.0\" encoding=\"latin1\"?><a/>",
            "<?xml version=\"1.0\"",
        ] {
            assert_eq!(verdict(text), Err(XmlError::Declaration), "{text}");
        }
    }

    #[test]
    fn every_bound_holds_and_is_no_tighter_than_it_says() {
        assert_eq!(verdict("<a><a><a><a/></a></a></a>"), Ok(()));
        assert_eq!(verdict("<a><a><a><a><a/></a></a></a></a>"), Err(XmlError::Depth(4)));
        assert_eq!(verdict(&format!("<a>{}</a>", "<b/>".repeat(7))), Ok(()));
        assert_eq!(
            verdict(&format!("<a>{}</a>", "<b/>".repeat(8))),
            Err(XmlError::Elements(8))
        );
        assert_eq!(verdict("<a x='' y='' z=''/>"), Ok(()));
        assert_eq!(verdict("<a x='' y='' z='' u=''/>"), Err(XmlError::Attributes(3)));
        assert_eq!(verdict(&format!("<a>{}</a>", "x".repeat(4089))), Ok(()));
        assert_eq!(
            verdict(&format!("<a>{}</a>", "x".repeat(4090))),
            Err(XmlError::Size(4096))
        );
    }

    #[test]
    fn remarks_are_passed_over_where_they_may_be() {
        let bounds = XmlBounds {
            remarks: true,
            ..BOUNDS
        };
        let text = "<?xml version=\"1.0\"?><!-- <a> --><a>x<!-- <b> -->y<?pi <c> ?></a>";
        assert!(read(text, bounds).is_ok());
        let text = "<a>x<!-- <b> -->y</a>";
        let document = read(text, bounds).unwrap();
        assert_eq!(text_of(document.root_element()).unwrap(), "xy");
        assert_eq!(read("<!DOCTYPE a><a/>", bounds).err(), Some(XmlError::Markup));
    }

    #[test]
    fn names_are_told_as_they_are_written() {
        let document = read("<p:a xmlns:p='u' ><b/></p:a>", BOUNDS).unwrap();
        let root = document.root_element();
        assert_eq!(written_name(root), ("p", "a"));
        assert_eq!(written_name(root.first_element_child().unwrap()), ("", "b"));
    }
}
