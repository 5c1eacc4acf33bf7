//! One thing that is wrong with a configuration: where, what, and how to mend it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `provider[1].issuer`; empty where the file as a whole is meant.
    pub key: String,
    /// 1-based; `None` where the value did not come from a file.
    pub line: Option<usize>,
    /// The file that the line is of, where it is not the configuration itself (a users file).
    pub file: Option<PathBuf>,
    /// What is wrong and how to mend it. Holds no secret.
    pub text: String,
}

impl Problem {
    pub fn new(key: impl Into<String>, line: Option<usize>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            line,
            file: None,
            text: text.into(),
        }
    }
}

/// `line 12: provider[1].issuer: must be https`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}
