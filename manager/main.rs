//! The program: a child of a manager, or a command.

use std::process::ExitCode;

use gm_native::cli::Cli;
use gm_native::{commands, version};

fn main() -> ExitCode {
    commands::run_if_child(std::env::args_os().nth(1).as_deref());
    match Cli::parse_args(std::env::args_os(), version::long().leak()) {
        Ok(cli) => commands::run(&cli),
        Err(error) => commands::refuse(&error, std::env::args_os()),
    }
}
