//! `kvs tail`.

use clap::Args;
use futures::stream::{self, StreamExt};
use kinesis_video::Fragment;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::fragment_line::{object, text};
use crate::screen::{BOLD, WARNING};
use crate::source::{Input, Selection, Source, save_position};
use crate::words;

/// Follow streams, a line per fragment.
///
/// A line has the local time of the fragment, its duration, its lag, tracks, packets and size, and its number. Gaps,
/// reconnects and other discontinuities are lines of their own. The time is the producer's, or else the service's.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per fragment:
  source, fragment_number, producer_time, server_time, duration_ms, behind_now_ms, tracks (codec ids),
  packets, key_frames, bytes, end, tags (pairs of name and value), discontinuities (texts), is_loss

Examples:
  kvs tail front-door
  kvs tail front-door back-door --idle 30s
  kvs tail front-door --start \"10m ago\" --until 14:00
  kvs tail front-door --start earliest --checkpoint door.checkpoint --json
  kvs tail recording.mkv")]
pub(crate) struct Tail {
    /// The streams or files. With several, each line begins with the name.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Source>,
    #[command(flatten)]
    selection: Selection,
}

/// An event of a source.
enum Event {
    Fragment(Fragment),
    Failed(kinesis_video::Error),
    Ended,
}

impl Tail {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        if self.sources.len() > 1 && self.selection.has_checkpoint() {
            return Err(
                Failure::usage("--checkpoint keeps the position of one source").hint("run one `kvs tail` for each")
            );
        }
        let names: Vec<String> = self.sources.iter().map(ToString::to_string).collect();
        let width = names.iter().map(|name| name.chars().count()).max().filter(|_| names.len() > 1).unwrap_or_default();
        let (mut inputs, mut streams) = (Vec::new(), Vec::new());
        for (at, source) in self.sources.iter().enumerate() {
            let mut input = self.selection.open(source, cx).await?;
            // The lines show that something happens.
            if cx.screen.shares_terminal() {
                input.bar.finish_and_clear();
            }
            let items = std::mem::replace(&mut input.items, stream::empty().boxed());
            let events = items.map(|item| item.map_or_else(Event::Failed, Event::Fragment));
            streams.push(events.chain(stream::iter([Event::Ended])).map(move |event| (at, event)).boxed());
            inputs.push(input);
        }
        let mut tail = Lines { cx, names: &names, width, counts: vec![0; names.len()], failed: Vec::new(), last: None };
        let mut events = stream::select_all(streams);
        let result = loop {
            let Some((at, event)) = events.next().await else { break Ok(()) };
            if let Some(input) = inputs.get(at)
                && let Err(failure) = tail.show(at, input, event)
            {
                break Err(failure);
            }
        };
        let (counts, failed, last) = (tail.counts, tail.failed, tail.last);
        for input in inputs {
            input.bar.finish_and_clear();
            save_position(input.acks, cx).await?;
        }
        result?;
        match last {
            // The only source failed: its error is the command's.
            Some(failure) if names.len() == 1 => Err(failure),
            _ if !failed.is_empty() => Err(Failure::Printed),
            _ if counts.iter().sum::<u64>() == 0 && !cx.signals.is_interrupted() => {
                Err(self.sources.first().map_or(Failure::Printed, |source| source.nothing("fragment")))
            }
            _ => Ok(()),
        }
    }
}

struct Lines<'a> {
    cx: &'a Context,
    names: &'a [String],
    /// The width of the names, or 0 if they are not shown.
    width: usize,
    counts: Vec<u64>,
    /// The indices of the sources that failed.
    failed: Vec<usize>,
    /// The failure of the only source.
    last: Option<Failure>,
}

impl Lines<'_> {
    fn show(&mut self, at: usize, input: &Input, event: Event) -> Result<()> {
        let Some(name) = self.names.get(at) else { return Ok(()) };
        match event {
            Event::Fragment(fragment) => {
                if self.cx.screen.is_json() {
                    self.cx.screen.object(&object(name, &fragment))?;
                } else {
                    for discontinuity in fragment.discontinuities() {
                        self.line(name, &format!("{WARNING}-- {}{WARNING:#}", words::discontinuity(discontinuity)))?;
                    }
                    self.line(name, &text(&fragment))?;
                }
                if let Some(count) = self.counts.get_mut(at) {
                    *count += 1;
                }
                if let Some(acks) = &input.acks {
                    acks.done(&fragment.position());
                }
            }
            // The other sources go on.
            Event::Failed(error) => {
                let failure = Failure::from(error).about(name);
                self.failed.push(at);
                if self.names.len() == 1 {
                    self.last = Some(failure);
                } else {
                    self.cx.screen.failure(&failure);
                }
            }
            // The failure is printed already, or is printed at the end.
            Event::Ended if self.has_failed(at) => input.bar.finish_and_clear(),
            Event::Ended => {
                input.bar.finish_and_clear();
                let count = self.counts.get(at).copied().unwrap_or_default();
                let reason = input.end_reason().map(|reason| format!(": {reason}")).unwrap_or_default();
                self.cx.screen.note(&format!("{name}: {}{reason}", words::count(count, "fragment")));
            }
        }
        Ok(())
    }

    fn has_failed(&self, at: usize) -> bool {
        self.failed.contains(&at)
    }

    fn line(&self, name: &str, text: &str) -> Result<()> {
        match self.width {
            0 => self.cx.screen.line(text),
            width => self.cx.screen.line(&format!("{BOLD}{name:<width$}{BOLD:#}  {text}")),
        }
    }
}
