//! `mlgate serve`: run the gateway.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Exit, complain};
use crate::config;
use crate::server::Server;
use crate::telemetry::start_logging;

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(asked: &Serve, out: &mut impl Write) -> io::Result<Exit> {
    let config = match config::load(&asked.config) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                complain(problem);
            }
            return Ok(Exit::Failed);
        }
    };
    start_logging(&config.telemetry.log, config.telemetry.log_format);
    let url = config.public_url.to_string();
    let served = actix_web::rt::System::new().block_on(async move {
        let server = Server::build(config)?;
        writeln!(out, "mlgate serves {url} on {}", server.address()?)?;
        out.flush()?;
        server.run_until_stopped().await
    });
    Ok(match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Failed
        }
    })
}
