//! What the operator or the user typed.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "server")]
mod admin_socket;
#[cfg(feature = "server")]
mod audit;
#[cfg(feature = "server")]
mod check;
#[cfg(feature = "server")]
mod explain;
#[cfg(feature = "server")]
mod hash_password;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod sessions;
#[cfg(feature = "server")]
mod tokens;
#[cfg(feature = "cli")]
mod user;

/// How a command ended; the numbers are part of the contract. Bad usage (2) is clap's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Refused = 3,
    NotSignedIn = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The gate in front of MLflow: sign-in, roles and an audit trail.
#[derive(Parser, Debug)]
#[command(name = "mlgate", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[cfg(feature = "server")]
    /// Run the gateway.
    Serve(serve::Serve),
    #[cfg(feature = "server")]
    /// Check, follow and search the audit trail.
    Audit(audit::Audit),
    #[cfg(feature = "server")]
    /// Read the configuration and all that it names, and print every problem.
    Check(check::Check),
    #[cfg(feature = "server")]
    /// Tell whether a request would pass, and why.
    Explain(explain::Explain),
    #[cfg(feature = "server")]
    /// Read a password from standard input and print its argon2id line for a users file.
    HashPassword(hash_password::HashPassword),
    #[cfg(feature = "server")]
    /// List sessions and end them.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    #[cfg(feature = "server")]
    /// Make, list and end personal tokens.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    #[cfg(feature = "cli")]
    #[command(flatten)]
    User(user::Command),
}

/// Carries out what was typed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let stdout = io::stdout();
    let mut out = io::BufWriter::new(stdout.lock());
    let result = match cli.command {
        #[cfg(feature = "server")]
        Command::Serve(asked) => serve::run(&asked, &mut out),
        #[cfg(feature = "server")]
        Command::Audit(audit) => audit::run(audit, &mut out),
        #[cfg(feature = "server")]
        Command::Check(asked) => check::run(&asked, &mut out),
        #[cfg(feature = "server")]
        Command::Explain(asked) => explain::run(&asked, &mut out),
        #[cfg(feature = "server")]
        Command::HashPassword(asked) => hash_password::run(&asked, &mut io::stdin().lock(), &mut out),
        #[cfg(feature = "server")]
        Command::Sessions(asked) => sessions::run(asked, &mut out),
        #[cfg(feature = "server")]
        Command::Tokens(asked) => tokens::run(asked, &mut out),
        #[cfg(feature = "cli")]
        Command::User(command) => user::run(command, &mut out),
    };
    match result.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit.into(),
        // `mlgate audit search … | head` ends early, and well.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(error) => {
            complain(&error);
            Exit::Failed.into()
        }
    }
}

/// One line on standard error.
fn complain(error: &dyn std::fmt::Display) {
    // Nothing can be done where standard error is closed.
    let _ = writeln!(io::stderr(), "mlgate: {error}");
}
