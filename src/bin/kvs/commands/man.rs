//! `kvs man`.

use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man as Page;
use jiff::Zoned;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::files;

/// Print the manual page, or write the pages of all commands to a folder.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  kvs man | man -l -
  kvs man -o ~/.local/share/man/man1      then: man kvs-tail")]
pub(crate) struct Man {
    /// The folder for one page per command, such as ~/.local/share/man/man1.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Man {
    pub(crate) async fn run(self, command: Command, cx: &Context) -> Result<()> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let rendered = |command: &Command| {
            page(command).map_err(|error| Failure::other("cannot write the page").why(error.to_string()))
        };
        let Some(dir) = self.output else { return cx.screen.raw(rendered(&command)?.as_bytes()) };
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let path = dir.join(format!("{}.1", page_name(command)));
            files::save(&path, rendered(command)?.into_bytes()).await?;
        }
        Ok(())
    }
}

/// Returns the name of a command's page: `kvs`, or `kvs-tail` for a subcommand.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// Returns the page of a command as roff.
fn page(command: &Command) -> io::Result<String> {
    // clap_mangen's own `render` fills the lines of examples, and says the version at length.
    let name = page_name(command);
    let page = Page::new(command.clone())
        .title(name.to_uppercase())
        .date(date())
        .source(format!("kvs {}", env!("CARGO_PKG_VERSION")))
        .manual("Kinesis Video Streams");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    // A blank line is a space already. Breaks around it are what mandoc warns of.
    let mut text = String::from_utf8_lossy(&text).replace("\n.br\n\n.br\n", "\n.sp\n");
    if let Some(help) = command.get_after_long_help() {
        add_sections(&mut text, &help.to_string());
    }
    if name != "kvs" {
        text.push_str(".SH \"SEE ALSO\"\n\\fBkvs\\fR(1)\n");
    }
    Ok(text)
}

/// Adds a section for each paragraph of the help's end, such as "Examples:" and the lines below it.
fn add_sections(text: &mut String, help: &str) {
    for paragraph in help.split("\n\n") {
        let (heading, lines) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let (title, first) = match heading.trim_end_matches(':') {
            "Examples" => ("EXAMPLES", ""),
            "Exit codes" => ("EXIT STATUS", ""),
            _ if heading.starts_with("With --json") => ("JSON", heading),
            _ => ("NOTES", heading),
        };
        text.push_str(&format!(".SH \"{title}\"\n"));
        if !first.is_empty() {
            text.push_str(&format!("{}\n", escaped(first)));
        }
        if !lines.is_empty() {
            text.push_str(".nf\n");
            lines.lines().for_each(|line| text.push_str(&format!("{}\n", escaped(line))));
            text.push_str(".fi\n");
        }
    }
}

/// Returns a line whose characters roff does not interpret.
fn escaped(line: &str) -> String {
    let line = line.trim_end().replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// Returns the date of the page: today, or for reproducible packages that of SOURCE_DATE_EPOCH.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    match epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        Some(time) => time.strftime("%Y-%m-%d").to_string(),
        None => Zoned::now().strftime("%Y-%m-%d").to_string(),
    }
}
