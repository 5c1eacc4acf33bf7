//! What the operator or the user typed.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin_socket;
mod audit;
mod check;
mod explain;
mod hash_password;
mod import;
mod serve;
mod sessions;
mod tokens;

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
    /// Run the gateway.
    Serve(serve::Serve),
    /// Check, follow and search the audit trail.
    Audit(audit::Audit),
    /// Read the configuration and all that it names, and print every problem.
    Check(check::Check),
    /// Tell whether a request would pass, and why.
    Explain(explain::Explain),
    /// Read a password from standard input and print its argon2id line for a users file.
    HashPassword(hash_password::HashPassword),
    /// Turn another gate's configuration into one of mlgate.
    #[command(subcommand)]
    Import(import::Import),
    /// List sessions and end them.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Make, list and end personal tokens.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
}

/// Carries out what was typed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let stdout = io::stdout();
    let mut out = io::BufWriter::new(stdout.lock());
    let result = match cli.command {
        Command::Serve(asked) => serve::run(&asked, &mut out),
        Command::Audit(audit) => audit::run(audit, &mut out),
        Command::Check(asked) => check::run(&asked, &mut out),
        Command::Explain(asked) => explain::run(&asked, &mut out),
        Command::HashPassword(asked) => hash_password::run(&asked, &mut io::stdin().lock(), &mut out),
        Command::Import(asked) => import::run(&asked, &mut out),
        Command::Sessions(asked) => sessions::run(asked, &mut out),
        Command::Tokens(asked) => tokens::run(asked, &mut out),
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
