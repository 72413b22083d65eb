//! [`Screen`]: what a command prints. Results go to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::failure::{Failure, Result, io_text};

/// For what people seldom read, such as fragment numbers.
pub(crate) const DIM: Style = Style::new().dimmed();

/// For headings and names.
pub(crate) const BOLD: Style = Style::new().bold();

/// For gaps and warnings.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();

/// For errors.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();

/// For what is well.
pub(crate) const OK: Style = AnsiColor::Green.on_default();

/// Standard output, standard error and the progress bars. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Screen(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    json: bool,
    quiet: bool,
    bars: MultiProgress,
    /// Both outputs are terminals, so that a line would go through a bar.
    shares_terminal: bool,
}

impl Screen {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self(Arc::new(Inner {
            json,
            quiet,
            bars: MultiProgress::with_draw_target(target),
            shares_terminal: io::stdout().is_terminal() && io::stderr().is_terminal(),
        }))
    }

    /// Returns whether lines are JSON objects.
    pub(crate) fn is_json(&self) -> bool {
        self.0.json
    }

    /// Returns whether results and progress go to the same terminal.
    pub(crate) fn shares_terminal(&self) -> bool {
        self.0.shares_terminal
    }

    /// Prints a line on standard output. Colours are dropped where they do not belong.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.print(|| {
            let mut out = anstream::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })
    }

    /// Prints an object as one line of JSON on standard output.
    pub(crate) fn object(&self, object: &Value) -> Result<()> {
        // Without the filter for colours, which would drop the character DEL from a text.
        self.raw(format!("{object}\n").as_bytes())
    }

    /// Prints text on standard output as it is.
    pub(crate) fn raw(&self, text: &[u8]) -> Result<()> {
        self.print(|| {
            let mut out = io::stdout().lock();
            out.write_all(text).and_then(|()| out.flush())
        })
    }

    fn print(&self, print: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let printed = if self.0.shares_terminal { self.0.bars.suspend(print) } else { print() };
        printed.map_err(|error| of_output(&error))
    }

    /// Prints a line on standard error, unless the user wants it quiet: summaries and what else is good to know.
    pub(crate) fn note(&self, text: &str) {
        if !self.0.quiet {
            self.print_error_line(text);
        }
    }

    /// Prints a warning on standard error, unless the user wants it quiet.
    pub(crate) fn warn(&self, text: &str) {
        self.note(&format!("{WARNING}warning{WARNING:#}: {text}"));
    }

    /// Prints a failure on standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        let text = failure.text();
        if !text.is_empty() {
            self.print_error_line(&text.replacen("error", &format!("{ERROR}error{ERROR:#}"), 1));
        }
    }

    fn print_error_line(&self, text: &str) {
        // Nobody is left to tell if this fails.
        self.0.bars.suspend(|| drop(writeln!(anstream::stderr(), "{text}")));
    }

    /// Adds a bar of known length in bytes, drawn on a terminal only.
    pub(crate) fn bar(&self, bytes: u64) -> ProgressBar {
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}";
        self.add(ProgressBar::new(bytes), template)
    }

    /// Adds a spinner for what has no known end, drawn on a terminal only.
    pub(crate) fn spinner(&self) -> ProgressBar {
        let bar = self.add(ProgressBar::new_spinner(), "{spinner} {elapsed} {msg}");
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        bar
    }

    fn add(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.bars.add(bar)
    }
}

/// The failure of a write to standard output.
pub(crate) fn of_output(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::other("cannot write to standard output").why(io_text(error)),
    }
}
