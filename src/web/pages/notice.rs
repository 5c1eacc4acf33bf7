//! The operator's notice: lines of text, in which web addresses lead somewhere.

use url::Url;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::web) struct Piece {
    pub(in crate::web) text: String,
    /// Where a web address leads.
    pub(in crate::web) href: Option<String>,
}

pub(in crate::web) type Line = Vec<Piece>;

pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().map(pieces).collect()
}

fn pieces(line: &str) -> Line {
    let mut found = Vec::new();
    let plain = |text: &str| Piece {
        text: text.to_owned(),
        href: None,
    };
    let (mut rest, mut before) = (line, 0);
    let next = |text: &str| {
        ["https://", "http://"]
            .iter()
            .filter_map(|scheme| text.find(scheme))
            .min()
    };
    while let Some(start) = next(&rest[before..]).map(|at| before + at) {
        let end = rest[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
            .map_or(rest.len(), |at| start + at);
        // What ends a sentence is no part of the address in it.
        let address = rest[start..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '。', '，', '）']);
        let is_whole = Url::parse(address).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        if !is_whole {
            before = end;
            continue;
        }
        if start > 0 {
            found.push(plain(&rest[..start]));
        }
        found.push(Piece {
            text: address.to_owned(),
            href: Some(address.to_owned()),
        });
        rest = &rest[start + address.len()..];
        before = 0;
    }
    if !rest.is_empty() || found.is_empty() {
        found.push(plain(rest));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<(String, bool)> {
        pieces(line)
            .into_iter()
            .map(|piece| (piece.text, piece.href.is_some()))
            .collect()
    }

    #[test]
    fn a_web_address_leads_somewhere_and_the_rest_is_text() {
        assert_eq!(
            told("Access: https://wiki.example/a?b=1 (or http://x.example)."),
            [
                ("Access: ".to_owned(), false),
                ("https://wiki.example/a?b=1".to_owned(), true),
                (" (or ".to_owned(), false),
                ("http://x.example".to_owned(), true),
                (").".to_owned(), false),
            ]
        );
        assert_eq!(
            told("申请：https://wiki.example。"),
            [
                ("申请：".to_owned(), false),
                ("https://wiki.example".to_owned(), true),
                ("。".to_owned(), false),
            ]
        );
        for text in [
            "",
            "Ask ml@example.test.",
            "https://",
            "javascript:alert(1)",
            "see https:// there",
        ] {
            assert_eq!(told(text), [(text.to_owned(), false)], "{text}");
        }
    }
}
