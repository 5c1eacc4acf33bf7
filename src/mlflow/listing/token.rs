//! The page tokens of cut lists: sealed, so that they tell nothing of what lies between the rows, and bound to the caller
//! and to the question, so that they are a place in nobody else's view.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::View;
use super::paging::Position;
use crate::mlflow::MlflowError;

const MARK: &str = "mlgate.";
const LONGEST: usize = 16 * 1024;

/// Tokens come in few lengths: MLflow's own grow with the number of rows before them, hidden ones included.
const BLOCK: usize = 128;

#[derive(Serialize, Deserialize)]
struct Inside<'a> {
    #[serde(rename = "t", borrow)]
    token: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "s")]
    skip: usize,
    #[serde(rename = "w", borrow)]
    within: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "i", default)]
    by_id: bool,
}

/// Whether a token is one of these, and not MLflow's.
pub(super) fn is_ours(token: Option<&str>) -> bool {
    token.is_some_and(|token| token.starts_with(MARK))
}

/// What the client sends back for the next page. `query`: all of the question but the page.
pub(super) fn seal(view: &View<'_>, query: &str, position: &Position) -> String {
    let inside = Inside {
        token: position.token.as_deref().map(Into::into),
        skip: position.skip,
        within: position.within.as_deref().map(Into::into),
        by_id: position.by_id,
    };
    let mut plain = serde_json::to_vec(&inside).unwrap_or_default();
    plain.resize(plain.len().next_multiple_of(BLOCK), b' ');
    let sealed = view.sealer.seal("page", &place(view, query), &plain);
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(sealed))
}

/// From a client's page token; none is the beginning.
pub(super) fn open(view: &View<'_>, query: &str, token: Option<&str>) -> Result<Position, MlflowError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(Position::default());
    };
    let read = || {
        let sealed = URL_SAFE_NO_PAD.decode(token.strip_prefix(MARK)?).ok()?;
        let plain = view.sealer.open("page", &place(view, query), &sealed)?;
        let inside: Inside<'_> = serde_json::from_slice(&plain).ok()?;
        Some(Position {
            token: inside.token.map(Into::into),
            skip: inside.skip,
            within: inside.within.map(Into::into),
            by_id: inside.by_id,
        })
    };
    let position = (token.len() <= LONGEST).then(read).flatten();
    position.ok_or_else(|| MlflowError::Malformed("page_token is not one that you got for this list.".into()))
}

fn place(view: &View<'_>, query: &str) -> String {
    format!("{}\n{query}", view.reader)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Access, SystemRandom};
    use crate::store::Sealer;

    fn with_view<T>(sealer: &Sealer, reader: &str, act: impl FnOnce(&View<'_>) -> T) -> T {
        let may = |_: &Access| false;
        act(&View {
            may: &may,
            sealer,
            reader,
            rights: 0,
        })
    }

    fn sealer() -> Sealer {
        Sealer::new(&[[7; 32]], Arc::new(SystemRandom::default()))
    }

    fn position(token: Option<&str>, skip: usize) -> Position {
        Position {
            token: token.map(str::to_owned),
            skip,
            within: None,
            by_id: false,
        }
    }

    #[test]
    fn a_position_survives_its_token() {
        let sealer = sealer();
        for place in [
            position(Some("eyJvZmZzZXQiOiAxfQ=="), 0),
            position(Some("\"ä\\"), 7),
            position(None, 3),
            Position {
                within: Some("name LIKE 'a/%'".into()),
                ..Position::default()
            },
        ] {
            let back = with_view(&sealer, "p\nann", |view| {
                open(view, "q", Some(&seal(view, "q", &place))).unwrap()
            });
            assert_eq!(back, place);
        }
        let none = with_view(&sealer, "p\nann", |view| open(view, "q", Some("")).unwrap());
        assert_eq!(none, Position::default());
    }

    #[test]
    fn a_token_is_of_use_to_its_owner_and_for_its_question_alone() {
        let sealer = sealer();
        let token = with_view(&sealer, "p\nann", |view| seal(view, "q", &position(Some("x"), 1)));
        for (reader, query, token) in [
            ("p\nbob", "q", token.as_str()),
            ("p\nann", "other", &token),
            ("p\nann", "q", &token[..token.len() - 1]),
            ("p\nann", "q", &token.replace("mlgate.", "mlgate.A")),
            ("p\nann", "q", "eyJvZmZzZXQiOiAxfQ=="),
            ("p\nann", "q", "mlgate."),
            ("p\nann", "q", "mlgate.3.x"),
            ("p\nann", "q", &"x".repeat(LONGEST + 1)),
        ] {
            let opened = with_view(&sealer, reader, |view| open(view, query, Some(token)));
            assert!(
                matches!(opened, Err(MlflowError::Malformed(_))),
                "{reader} {query} {token}"
            );
        }
    }

    #[test]
    fn a_token_tells_neither_by_its_words_nor_by_its_length() {
        let sealer = sealer();
        let made =
            |token: &str, skip| with_view(&sealer, "p\nann", |view| seal(view, "q", &position(Some(token), skip)));
        let (near, far) = (made("eyJvZmZzZXQiOiAxfQ==", 0), made("eyJvZmZzZXQiOiAxMDAwMDB9", 999));
        assert_eq!(near.len(), far.len());
        assert_ne!(made("x", 0), made("x", 0));
    }
}
