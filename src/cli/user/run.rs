//! `mlgate run`: a command in whose environment MLflow is signed in.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use clap::Args;
use tokio::runtime::Runtime;

use crate::client::{Client, Failure, plugin};

use super::super::{Exit, complain};

#[derive(Args, Debug)]
pub(in crate::cli) struct Run {
    /// The gateway; without it, the one that was signed in to last
    url: Option<String>,
    /// What to run
    #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn act(self, client: &Client, runtime: &Runtime) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        let (token, end) = runtime.block_on(client.token_and_end(&url))?;
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::Failed("there is nothing to run".into()));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MLFLOW_TRACKING_URI", url.to_string())
            .env("MLFLOW_TRACKING_TOKEN", token.expose())
            // MLflow would prefer them to the token.
            .env_remove("MLFLOW_TRACKING_USERNAME")
            .env_remove("MLFLOW_TRACKING_PASSWORD");
        if plugin::is_installed(program, client.environment()) {
            command.env("MLFLOW_TRACKING_AUTH", "mlgate");
        } else {
            // Of an earlier setting: MLflow warns about one that it does not know.
            command.env_remove("MLFLOW_TRACKING_AUTH");
            complain(&format!(
                "mlflow-mlgate is not installed there, so the token is good until {end}; for longer jobs: pip install mlflow-mlgate"
            ));
            if client.environment().netrc_names(&url) {
                complain(
                    &"a .netrc has an entry for this host, which MLflow prefers to the token: take it out, or install mlflow-mlgate",
                );
            }
        }
        let name = program.to_string_lossy().into_owned();
        become_it(command).map_err(|error| {
            Failure::Failed(match error.kind() {
                io::ErrorKind::NotFound => format!("{name}: there is no such command"),
                _ => format!("{name} cannot be run: {error}"),
            })
        })
    }
}

/// In our place: its exit code and signals are its own. Comes back only with an error.
#[cfg(unix)]
fn become_it(mut command: Command) -> io::Result<Exit> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> io::Result<Exit> {
    let code = command.status()?.code().unwrap_or(1);
    std::process::exit(code)
}
