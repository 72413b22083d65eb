//! Code that all example programs share.

use std::error::Error;
use std::process::ExitCode;

/// Prints an error with its causes, and returns the exit code of the program.
pub(crate) fn exit_code(result: kinesis_video::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
    ExitCode::FAILURE
}
