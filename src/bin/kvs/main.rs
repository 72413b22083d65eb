//! `kvs`: reads Kinesis Video Streams from the command line.

mod aws;
mod begin;
mod bitmap_text;
mod commands;
mod context;
mod failure;
mod files;
mod fragment_line;
mod picture_options;
#[cfg(feature = "ffmpeg")]
mod pictures;
mod plot;
mod recording;
mod recording_options;
mod report;
mod saved_file;
mod screen;
mod sending;
mod shards;
#[cfg(feature = "ffmpeg")]
mod sheet;
mod signals;
mod source;
mod tethered;
mod time;
mod version;
mod warnings;
mod witness;
mod words;

use std::process::ExitCode;

use anstream::ColorChoice;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use aws::AwsOptions;
use commands::{
    clip, completions, copy, doctor, fleet, frame, frames, images, inspect, list, ls, man, put, record, save, serve,
    tail, url, watch, wav,
};
use context::Context;
use failure::{Failure, INTERRUPTED, Result};
use screen::Screen;
use signals::Signals;

/// Watch, save and examine Kinesis Video Streams.
///
/// SOURCE is a stream (name or ARN), a file, a folder/ of MKV files, or - for standard input. What works on a stream works
/// on a file, without AWS. Text with a slash, the name of an existing file and a name that ends in .mkv are files.
#[derive(Parser)]
#[command(name = "kvs", version = version::short(), long_version = version::long(), after_long_help = AFTER_HELP)]
#[command(max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    aws: AwsOptions,
    /// Print one JSON object per line instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Also print what the library logs.
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    verbose: bool,
    /// Print no warnings, summaries and progress, only results and errors.
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Global options")]
    color: Color,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Color {
    Always,
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Never,
}

#[derive(Subcommand)]
enum Command {
    Ls(ls::Ls),
    Tail(tail::Tail),
    List(list::List),
    Record(record::Record),
    Save(save::Save),
    Frames(frames::Frames),
    Frame(frame::Frame),
    Wav(wav::Wav),
    Clip(clip::Clip),
    Images(images::Images),
    Url(url::Url),
    Put(put::Put),
    Copy(copy::Copy),
    Fleet(fleet::Fleet),
    Inspect(inspect::Inspect),
    Serve(serve::Serve),
    Watch(watch::Watch),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
}

const AFTER_HELP: &str = "\
Examples:
  kvs serve --loop camera=door.mkv              a stream on this machine, to try things out
  kvs tail front-door                           a line per fragment, as it arrives
  kvs watch front-door --open                   live picture, timeline and downloads in a browser
  kvs record front-door --start \"1h ago\" --end now -o front-door.mp4
  kvs frames recording.mkv --every 10s -o pictures --sheet sheet.jpg
  kvs wav call.mkv -o call.wav --waveform call.svg

Exit codes:
  0    done
  1    failed
  2    wrong arguments
  3    nothing found: no such stream, no fragment, no picture, no audio
  130  interrupted by Ctrl-C or SIGTERM, after the file at hand was finished";

fn main() -> ExitCode {
    tethered::become_program();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Without any argument, clap prints the help.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        Err(error) if error.use_stderr() => return usage(&error),
        Err(help) => help.exit(),
    };
    match cli.color {
        Color::Always => ColorChoice::Always.write_global(),
        Color::Auto => {}
        Color::Never => ColorChoice::Never.write_global(),
    }
    let screen = Screen::new(cli.json, cli.quiet);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.failure(&Failure::other("cannot start").why(error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    warnings::print(&screen, cli.verbose);
    let code = runtime.block_on(async {
        let context = Context { screen: screen.clone(), aws: cli.aws, signals: Signals::listen() };
        let result = run(cli.command, &context).await;
        match result {
            Err(failure) => {
                screen.failure(&failure);
                match failure {
                    Failure::ClosedPipe => failure.exit_code(),
                    _ if context.signals.is_interrupted() => ExitCode::from(INTERRUPTED),
                    _ => failure.exit_code(),
                }
            }
            Ok(()) if context.signals.is_interrupted() => ExitCode::from(INTERRUPTED),
            Ok(()) => ExitCode::SUCCESS,
        }
    });
    // A read of standard input may never return.
    runtime.shutdown_background();
    code
}

/// Prints what is wrong with the arguments, as any other failure.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what).to_owned();
    // A tip, if there is one; or else where to look it up.
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: ").map(ToOwned::to_owned));
    let hint = tip.unwrap_or_else(|| {
        let commands = Cli::command();
        let command = std::env::args().skip(1).find(|word| commands.find_subcommand(word).is_some());
        format!("kvs {}--help", command.map(|name| name + " ").unwrap_or_default())
    });
    let failure = Failure::usage(what).hint(hint);
    Screen::new(false, false).failure(&failure);
    failure.exit_code()
}

async fn run(command: Command, cx: &Context) -> Result<()> {
    match command {
        Command::Ls(ls) => ls.run(cx).await,
        Command::Tail(tail) => tail.run(cx).await,
        Command::List(list) => list.run(cx).await,
        Command::Record(record) => record.run(cx).await,
        Command::Save(save) => save.run(cx).await,
        Command::Frames(frames) => frames.run(cx).await,
        Command::Frame(frame) => frame.run(cx).await,
        Command::Wav(wav) => wav.run(cx).await,
        Command::Clip(clip) => clip.run(cx).await,
        Command::Images(images) => images.run(cx).await,
        Command::Url(url) => url.run(cx).await,
        Command::Put(put) => put.run(cx).await,
        Command::Copy(copy) => copy.run(cx).await,
        Command::Fleet(fleet) => fleet.run(cx).await,
        Command::Inspect(inspect) => inspect.run(cx).await,
        Command::Serve(serve) => serve.run(cx).await,
        Command::Watch(watch) => watch.run(cx).await,
        Command::Doctor(doctor) => doctor.run(cx).await,
        Command::Completions(completions) => completions.run(Cli::command(), cx),
        Command::Man(man) => man.run(Cli::command(), cx).await,
    }
}
