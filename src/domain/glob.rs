//! Patterns as grants and other lines of the configuration write them.

/// A text with `*` for any run of characters; nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glob {
    Exact(Box<str>),
    /// The pieces between the stars; the first is anchored at the start, the last at the end.
    Pieces(Box<[Box<str>]>),
}

impl Glob {
    pub fn parse(text: &str) -> Self {
        if text.contains('*') {
            Self::Pieces(text.split('*').map(Box::from).collect())
        } else {
            Self::Exact(text.into())
        }
    }

    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(whole) => &**whole == text,
            Self::Pieces(pieces) => {
                let [first, middle @ .., last] = &**pieces else {
                    return false;
                };
                let Some(mut rest) = text.strip_prefix(&**first) else {
                    return false;
                };
                for piece in middle {
                    let Some(at) = rest.find(&**piece) else { return false };
                    rest = &rest[at + piece.len()..];
                }
                rest.ends_with(&**last)
            }
        }
    }
}
