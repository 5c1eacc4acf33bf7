//! The commands for MLflow's users.

use std::io::{self, Write};

use clap::Subcommand;

use crate::client::{Client, Environment, Failure};

use super::{Exit, complain};

mod env;
mod login;
mod logout;
mod progress;
mod qr;
mod run;
mod share;
mod shell;
mod token;
mod whoami;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign in to a gateway
    Login(login::Login),
    /// Print a fresh access token, alone
    Token(token::Token),
    /// Print what a shell needs so that MLflow's client works in it
    Env(env::Env),
    /// Run a command whose MLflow client is signed in
    Run(run::Run),
    /// Say who is signed in, with which roles and until when
    Whoami(whoami::Whoami),
    /// Share an experiment with a group, or say with whom it is shared
    Share(share::Share),
    /// Sign out: end the tokens at the gateway, and forget them here
    Logout(logout::Logout),
}

pub(super) fn run(command: Command, out: &mut impl Write) -> io::Result<Exit> {
    let failure = match act(command, out) {
        Ok(exit) => return Ok(exit),
        Err(failure) => failure,
    };
    let exit = match failure {
        Failure::Output(error) => return Err(error),
        Failure::Failed(_) => Exit::Failed,
        Failure::Refused(_) => Exit::Refused,
        Failure::NotSignedIn(_) => Exit::NotSignedIn,
    };
    complain(&failure);
    Ok(exit)
}

fn act(command: Command, out: &mut impl Write) -> Result<Exit, Failure> {
    let client = Client::new(Environment::of_this_process())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Login(asked) => runtime.block_on(asked.act(&client, out)),
        Command::Token(asked) => runtime.block_on(asked.act(&client, out)),
        Command::Env(asked) => runtime.block_on(asked.act(&client, out)),
        Command::Run(asked) => asked.act(&client, &runtime),
        Command::Whoami(asked) => runtime.block_on(asked.act(&client, out)),
        Command::Share(asked) => runtime.block_on(asked.act(&client, out)),
        Command::Logout(asked) => runtime.block_on(asked.act(&client, out)),
    }
}
