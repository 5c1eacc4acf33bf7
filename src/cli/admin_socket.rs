//! Talks to a gateway's operator API: on this machine through its admin socket, elsewhere with an admin's token.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Exit, complain};
use crate::client::{self, Client, Environment};
use crate::config;
use crate::domain::visible;
use crate::web::admin_api::PREFIX;

const PATIENCE: Duration = Duration::from_secs(10);
/// A list of 100,000 sessions has about 30 MB.
const ANSWER_LIMIT: usize = 256 << 20;
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Which gateway.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The configuration of the gateway that runs on this machine
    #[arg(long, value_name = "FILE", required_unless_present = "url", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// A gateway anywhere, by an admin's sign-in (`mlgate login URL`) or the token in MLGATE_TOKEN
    #[arg(long)]
    url: Option<String>,
}

#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NotSignedIn(String),
    #[error("{0}")]
    Output(io::Error),
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Self {
        match failure {
            client::Failure::Failed(text) => Self::Failed(text),
            client::Failure::Refused(text) => Self::Refused(text),
            client::Failure::NotSignedIn(text) => Self::NotSignedIn(text),
            client::Failure::Output(error) => Self::Output(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Says on standard error why a command failed, and gives how it ended.
pub(super) fn finish(outcome: Result<(), Failure>) -> io::Result<Exit> {
    let (failure, exit) = match outcome {
        Ok(()) => return Ok(Exit::Done),
        Err(Failure::Output(error)) => return Err(error),
        Err(failure @ Failure::Failed(_)) => (failure, Exit::Failed),
        Err(failure @ Failure::Refused(_)) => (failure, Exit::Refused),
        Err(failure @ Failure::NotSignedIn(_)) => (failure, Exit::NotSignedIn),
    };
    complain(&failure);
    Ok(exit)
}

/// A request below the API's prefix; its JSON answer.
pub(super) fn ask(
    which: &Which,
    method: Method,
    path: &str,
    query: &[(&str, Option<&str>)],
    body: Option<&Value>,
) -> Result<Value, Failure> {
    match (&which.config, &which.url) {
        (Some(file), _) => ask_here(file, method, path, query, body),
        (None, url) => {
            let client = Client::new(Environment::of_this_process())?;
            let gateway = client.gateway(url.as_deref())?;
            let path = format!("{PREFIX}{path}{}", query_string(query));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(client.administer(&gateway, method, &path, body))?)
        }
    }
}

fn ask_here(
    config_file: &Path,
    method: Method,
    path: &str,
    query: &[(&str, Option<&str>)],
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let config = config::load(config_file).map_err(|problems| {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.key, problem.text))
            .collect();
        Failure::Failed(format!("{} has problems:\n{}", config_file.display(), lines.join("\n")))
    })?;
    let socket = &config.listen.admin_socket;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { timeout(PATIENCE, exchange(socket, method, path, query, body)).await });
    answer.unwrap_or_else(|_| {
        Err(Failure::Failed(format!(
            "the gateway at {} does not answer",
            socket.display()
        )))
    })
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    query: &[(&str, Option<&str>)],
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        Failure::Failed(format!(
            "no gateway answers at the admin socket {}: {error}",
            socket.display()
        ))
    })?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("the admin socket: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{path}{}", query_string(query)))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
        .map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    if status.is_success() {
        return Ok(value);
    }
    let message = visible(value["message"].as_str().unwrap_or("the gateway gave no reason"));
    Err(if status == StatusCode::FORBIDDEN {
        Failure::Refused(message)
    } else {
        Failure::Failed(message)
    })
}

fn query_string(query: &[(&str, Option<&str>)]) -> String {
    let given = query.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    given
        .enumerate()
        .fold(String::new(), |text, (position, (name, value))| {
            let mark = if position == 0 { '?' } else { '&' };
            format!("{text}{mark}{name}={}", utf8_percent_encode(value, IN_QUERY))
        })
}

/// A path segment of what somebody typed.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, IN_QUERY).to_string()
}

/// A JSON array as it is, or as a table of the named fields.
pub(super) fn print_list(list: &Value, columns: &[&str], json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        return writeln!(out, "{list}");
    }
    let heads = columns
        .iter()
        .map(|column| column.to_uppercase().replace('_', " "))
        .collect();
    let rows = list.as_array().into_iter().flatten();
    let cells = rows.map(|row| columns.iter().map(|column| cell(&row[*column])).collect::<Vec<_>>());
    let table: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    table.iter().try_for_each(|row| {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_typed_stays_one_value() {
        let query = query_string(&[("user", Some("a&b=c d/é")), ("provider", None), ("x", Some("1"))]);
        assert_eq!(query, "?user=a%26b%3Dc%20d%2F%C3%A9&x=1");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
    }
}
