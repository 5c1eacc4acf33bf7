//! The rows of an answer: kept byte for byte, read only as far as it takes to know whose they are.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::paging::{Page, Weigh};
use crate::mlflow::MlflowError;

/// A row as MLflow wrote it, and what decides over it.
pub(super) struct Row<T> {
    pub(super) raw: Box<RawValue>,
    pub(super) read: T,
}

impl<T> Weigh for Row<T> {
    fn bytes(&self) -> usize {
        self.raw.get().len()
    }
}

/// Reads an answer's rows and its token. Whatever else the answer holds is left out.
pub(super) fn rows_of<T: DeserializeOwned>(body: &[u8], field: &str) -> Result<Page<Row<T>>, MlflowError> {
    let nonsense = || MlflowError::Upstream(format!("a list of {field} is not what it should be"));
    let whole: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).map_err(|_| nonsense())?;
    let next = match whole.get("next_page_token") {
        Some(token) => serde_json::from_str::<Option<String>>(token.get()).map_err(|_| nonsense())?,
        None => None,
    };
    let rows: Vec<Box<RawValue>> = match whole.get(field) {
        Some(rows) => serde_json::from_str(rows.get()).map_err(|_| nonsense())?,
        None => Vec::new(),
    };
    let rows = rows
        .into_iter()
        .map(|raw| {
            let read = serde_json::from_str(raw.get()).map_err(|_| nonsense())?;
            Ok(Row { raw, read })
        })
        .collect::<Result<_, MlflowError>>()?;
    Ok(Page {
        rows,
        next: next.filter(|token| !token.is_empty()),
    })
}

/// An answer of these rows in the way of MLflow's FastAPI routes: what is empty is there too.
pub(super) fn full_answer_of<T>(field: &str, rows: &[Row<T>], next: Option<&str>) -> Bytes {
    if rows.is_empty() {
        return Bytes::from(format!("{{\"{field}\":[],\"next_page_token\":null}}"));
    }
    answer_of(field, rows, next)
}

/// An answer of these rows; like MLflow's, without what is empty.
pub(super) fn answer_of<T>(field: &str, rows: &[Row<T>], next: Option<&str>) -> Bytes {
    let mut body = String::with_capacity(rows.iter().map(|row| row.bytes() + 1).sum::<usize>() + 128);
    body.push('{');
    for (index, row) in rows.iter().enumerate() {
        if index == 0 {
            body.push_str(&format!("\"{field}\":["));
        } else {
            body.push(',');
        }
        body.push_str(row.raw.get());
    }
    if !rows.is_empty() {
        body.push(']');
    }
    if let Some(next) = next {
        if !rows.is_empty() {
            body.push(',');
        }
        body.push_str("\"next_page_token\":");
        body.push_str(&serde_json::Value::from(next).to_string());
    }
    body.push('}');
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn rows_keep_their_bytes() {
        let body = br#"{ "things": [ {"name": "a",  "x": 1e0 , "big": 9007199254740993}, {"name":"b"} ], "total": 9, "next_page_token": "t\"" }"#;
        let page = rows_of::<Named>(body, "things").unwrap();
        assert_eq!(page.rows[1].read.name, "b");
        assert_eq!(page.next.as_deref(), Some("t\""));
        let answer = answer_of("things", &page.rows, page.next.as_deref());
        assert_eq!(
            answer,
            r#"{"things":[{"name": "a",  "x": 1e0 , "big": 9007199254740993},{"name":"b"}],"next_page_token":"t\""}"#
        );
    }

    #[test]
    fn nothing_is_an_empty_object() {
        assert!(rows_of::<Named>(b"{}", "things").unwrap().rows.is_empty());
        assert_eq!(answer_of::<Named>("things", &[], None), "{}");
        assert_eq!(
            answer_of::<Named>("things", &[], Some("t")),
            r#"{"next_page_token":"t"}"#
        );
    }

    #[test]
    fn a_row_that_does_not_say_whose_it_is_is_an_error() {
        assert!(rows_of::<Named>(br#"{"things":[{"x":1}]}"#, "things").is_err());
        assert!(rows_of::<Named>(br#"{"things":[{"name":"a","name":"b"}]}"#, "things").is_err());
        assert!(rows_of::<Named>(b"<html>", "things").is_err());
    }
}
