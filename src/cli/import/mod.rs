//! `mlgate import`: what another gate was told, in this one's words.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Exit, complain};

mod forms;
mod no_twin;
mod oauth2_proxy;
mod options;

#[derive(Subcommand, Debug)]
pub(super) enum Import {
    /// Print oauth2-proxy's configuration (the TOML of --config, its flags, or its OAUTH2_PROXY_… variables) as one of mlgate, with a comment on what has no twin.
    /// A client secret that stands in it stands in the result too.
    #[command(name = "oauth2-proxy")]
    Oauth2Proxy(Oauth2Proxy),
}

#[derive(Args, Debug)]
pub(super) struct Oauth2Proxy {
    file: PathBuf,
}

/// More than any configuration of that kind.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(asked: &Import, out: &mut dyn Write) -> io::Result<Exit> {
    let Import::Oauth2Proxy(Oauth2Proxy { file }) = asked;
    let read = std::fs::metadata(file).and_then(|meta| match meta.len() {
        0..=LONGEST => std::fs::read_to_string(file),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "is too large to be a configuration",
        )),
    });
    let text = match read {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("{}: {error}", file.display()));
            return Ok(Exit::Failed);
        }
    };
    let read_list = |path: &str| std::fs::read_to_string(path).map_err(|error| error.to_string());
    match oauth2_proxy::translate(&text, &read_list) {
        Ok(made) => {
            out.write_all(made.as_bytes())?;
            Ok(Exit::Done)
        }
        Err(text) => {
            complain(&format!("{}: {text}", file.display()));
            Ok(Exit::Failed)
        }
    }
}
