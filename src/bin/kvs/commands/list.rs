//! `kvs list`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures::StreamExt;
use futures::stream::{BoxStream, TryStreamExt};
use indicatif::{HumanBytes, ProgressBar};
use jiff::tz::TimeZone;
use kinesis_video::{Fragment, FragmentInfo, Order, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::begin::ClockName;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::plot::{Coverage, Extent, PictureFile, Stored};
use crate::screen::{DIM, WARNING};
use crate::source::{self, GAP_TOLERANCE, Selection, Source};
use crate::{time, words};

/// The length of the listed range of a stream without --start.
const DEFAULT_RANGE: Duration = Duration::from_secs(3600);

/// List what is stored, without reading the media.
///
/// A line has the local time of the fragment, its duration, its size and its number. Lines in between tell the gaps.
/// A gap is more than 0.5 s between two fragments, by the clock of the producer. The fragments of a file are listed in
/// the same way.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per fragment:
  fragment_number, server_time, producer_time, duration_ms, bytes
and one per gap, between its fragments:
  gap_ms, start_time, end_time

Examples:
  kvs list front-door
  kvs list front-door --start \"yesterday 8:00\" --end \"yesterday 18:00\" --plot yesterday.svg
  kvs list front-door --start earliest --json
  kvs list recording.mkv --plot recording.png")]
pub(crate) struct List {
    /// The stream or file.
    source: Source,
    /// The time from which on fragments begin, or "earliest".
    ///
    /// Default: one hour ago for a stream, the beginning for a file.
    #[arg(long, value_name = "TIME", help_heading = "What to list")]
    start: Option<Since>,
    /// The time up to which fragments begin. Default: now for a stream, the end for a file.
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "What to list")]
    end: Option<Timestamp>,
    /// The clock of --start and --end, of the order and of the times that are shown.
    #[arg(long, value_enum, default_value_t, help_heading = "What to list")]
    clock: ClockName,
    /// Draw coverage, gaps, durations, sizes and bit rate over time. The name ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PictureFile>,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    Earliest,
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            _ => time::parse(text).map(Self::Time),
        }
    }
}

type Entries = BoxStream<'static, kinesis_video::Result<Entry>>;

impl List {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let now = Timestamp::from(SystemTime::now());
        let name = self.source.to_string();
        let (start, end) = match (&self.source, self.start) {
            (Source::Stream(_), None) => {
                let end = self.end.unwrap_or(now);
                let start = Timestamp::from_millis(end.as_millis() - DEFAULT_RANGE.as_millis() as i64);
                let until = if self.end.is_some() { "before --end" } else { "so far" };
                cx.screen.note(&format!("{name}: the last hour {until}; --start chooses another time"));
                (Some(start), Some(end))
            }
            (Source::Stream(_), Some(Since::Earliest)) => (None, Some(self.end.unwrap_or(now))),
            (Source::Stream(_), Some(Since::Time(start))) => (Some(start), Some(self.end.unwrap_or(now))),
            (_, Some(Since::Time(start))) => (Some(start), self.end),
            (_, _) => (None, self.end),
        };
        if let (Some(start), Some(end)) = (start, end) {
            source::range(start, end)?;
        }
        let (mut entries, bar) = match &self.source {
            Source::Stream(stream) => self.list(stream, start.unwrap_or_default(), end.unwrap_or(now), cx).await?,
            source => {
                let input = Selection::of_range(start, end, self.clock).open(source, cx).await?;
                (input.items.map_ok(|fragment| Entry::of_fragment(&fragment)).boxed(), input.bar)
            }
        };
        let mut listing = Listing::new(self.clock, self.plot.is_some());
        let result = loop {
            let shown = match entries.try_next().await {
                Ok(Some(entry)) => listing.add(entry, cx),
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(&name)),
            };
            if let Err(failure) = shown {
                break Err(failure);
            }
        };
        bar.finish_and_clear();
        listing.finish();
        let Some(span) = listing.span(start, end.map(|end| end.min(now))) else {
            result?;
            return if cx.signals.is_interrupted() { Ok(()) } else { Err(self.nothing(&name, start, end)) };
        };
        cx.screen.note(&listing.summary(&span));
        result?;
        if let Some(file) = &self.plot {
            let extent = listing.extent(&name, &span);
            file.save(&Coverage { extent, fragments: &listing.plotted }, &cx.screen).await?;
        }
        Ok(())
    }

    async fn list(
        &self,
        stream: &StreamId,
        start: Timestamp,
        end: Timestamp,
        cx: &Context,
    ) -> Result<(Entries, ProgressBar)> {
        let list = cx.aws.kvs().await?.list_fragments(stream).range(start..=end).clock(self.clock.into());
        let bar = cx.screen.spinner();
        bar.set_message(format!("listing {}", self.source));
        let entries = list.order(Order::Time).entries().take_until(Box::pin(cx.signals.interrupted()));
        Ok((entries.map_ok(|info| Entry::of_info(&info)).boxed(), bar))
    }

    fn nothing(&self, name: &str, start: Option<Timestamp>, end: Option<Timestamp>) -> Failure {
        let from = start.map(|start| format!(" from {}", time::local(start))).unwrap_or_default();
        let to = end.map(|end| format!(" up to {}", time::local(end))).unwrap_or_default();
        match &self.source {
            Source::Stream(_) => {
                let hint = match self.start {
                    Some(Since::Earliest) => "`kvs ls` shows when the last fragment arrived",
                    _ => "--start earliest lists all that is stored",
                };
                Failure::nothing(format!("nothing is stored of {name}{from}{to}")).hint(hint)
            }
            Source::File(_) | Source::Stdin => Failure::nothing(format!("no fragment in {name}{from}{to}")),
        }
    }
}

/// A fragment of a stream or file.
#[derive(Clone, Debug)]
struct Entry {
    number: Option<String>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    /// The time on the timeline of a file.
    timecode: Option<Timestamp>,
    duration: Duration,
    bytes: u64,
}

impl Entry {
    fn of_info(info: &FragmentInfo) -> Self {
        Self {
            number: Some(info.number().to_string()),
            server_time: info.server_time(),
            producer_time: info.producer_time(),
            timecode: None,
            duration: info.duration(),
            bytes: info.bytes(),
        }
    }

    fn of_fragment(fragment: &Fragment) -> Self {
        Self {
            number: fragment.number().map(ToString::to_string),
            server_time: fragment.server_time(),
            producer_time: fragment.producer_time(),
            timecode: Some(Timestamp::from_millis(fragment.header().timecode_ns() / 1_000_000)),
            duration: fragment.duration(),
            bytes: fragment.raw().len() as u64,
        }
    }

    /// Returns the start on a clock, or else on the other one.
    fn time(&self, clock: ClockName) -> Option<Timestamp> {
        clock.first_of(self.server_time, self.producer_time)
    }

    /// Returns the starts of two fragments on a clock that both have: the producer's, if possible.
    fn starts(&self, after: &Self) -> Option<(Timestamp, Timestamp)> {
        let of_producer = self.producer_time.zip(after.producer_time);
        of_producer.or(self.server_time.zip(after.server_time)).or(self.timecode.zip(after.timecode))
    }

    fn text(&self, clock: ClockName) -> String {
        let begins = match (self.time(clock), self.timecode) {
            (None, Some(timecode)) => format!("at {:.3} s", timecode.as_millis() as f64 / 1000.0),
            (time, _) => time::local_or_dash(time),
        };
        let number = self.number.as_ref().map(|number| format!("  {DIM}{number}{DIM:#}")).unwrap_or_default();
        format!("{begins}  {:.3} s, {}{number}", self.duration.as_secs_f64(), HumanBytes(self.bytes))
    }

    fn object(&self) -> Value {
        json!({
            "fragment_number": self.number,
            "server_time": self.server_time.map(|time| time.to_string()),
            "producer_time": self.producer_time.map(|time| time.to_string()),
            "duration_ms": self.duration.as_millis() as u64,
            "bytes": self.bytes,
        })
    }
}

/// The totals of what was listed.
struct Listing {
    clock: ClockName,
    before: Option<Entry>,
    /// The distance of the starts of the last two fragments without a gap between them.
    step: Duration,
    first: Option<Entry>,
    fragments: u64,
    bytes: u64,
    covered: Duration,
    gaps: u64,
    missing: Duration,
    /// The end of the last fragment in time, in milliseconds.
    last_end: f64,
    is_plotted: bool,
    plotted: Vec<Stored>,
}

/// The range that was listed, in milliseconds since 1970, or on the timeline of a file.
struct Span {
    start: f64,
    end: f64,
    has_time: bool,
}

impl Span {
    fn duration(&self) -> Duration {
        millis(self.end - self.start)
    }
}

fn millis(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default()
}

impl Listing {
    fn new(clock: ClockName, is_plotted: bool) -> Self {
        Self {
            clock,
            before: None,
            step: Duration::ZERO,
            first: None,
            fragments: 0,
            bytes: 0,
            covered: Duration::ZERO,
            gaps: 0,
            missing: Duration::ZERO,
            last_end: f64::MIN,
            is_plotted,
            plotted: Vec::new(),
        }
    }

    /// Prints a fragment, and before it the gap after the previous one.
    fn add(&mut self, entry: Entry, cx: &Context) -> Result<()> {
        if let Some(before) = self.before.take() {
            let gap = self.lasts(&before, &entry);
            self.place(&before, Some(&entry), gap);
            if let Some(gap) = gap {
                self.gaps += 1;
                self.missing += gap;
                if cx.screen.is_json() {
                    let times =
                        before.producer_time.zip(entry.producer_time).or(before.server_time.zip(entry.server_time));
                    let end = times.map(|(_, end)| end);
                    let start = end.map(|end| Timestamp::from_millis(end.as_millis() - gap.as_millis() as i64));
                    cx.screen.object(&json!({
                        "gap_ms": gap.as_millis() as u64,
                        "start_time": start.map(|time| time.to_string()),
                        "end_time": end.map(|time| time.to_string()),
                    }))?;
                } else {
                    cx.screen.line(&format!("{WARNING}-- gap of {}{WARNING:#}", time::duration(gap)))?;
                }
            }
        }
        let shown = if cx.screen.is_json() {
            cx.screen.object(&entry.object())
        } else {
            cx.screen.line(&entry.text(self.clock))
        };
        self.fragments += 1;
        self.bytes += entry.bytes;
        self.first.get_or_insert_with(|| entry.clone());
        self.before = Some(entry);
        shown
    }

    /// Adds the time that a fragment covers, now that the next one is known, and returns the gap between them.
    ///
    /// The rules are those of the library, which finds gaps in what it reads.
    fn lasts(&mut self, before: &Entry, after: &Entry) -> Option<Duration> {
        let expected = self.expected(before);
        let distance = before.starts(after).map(|(from, to)| to.as_nanos() - from.as_nanos());
        let distance = distance.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
        let Some(distance) = distance else {
            // The clock went back.
            self.step = Duration::ZERO;
            self.covered += before.duration;
            return None;
        };
        let gap = distance.saturating_sub(expected);
        if gap > GAP_TOLERANCE && !expected.is_zero() {
            self.covered += expected;
            return Some(gap);
        }
        self.step = distance;
        self.covered += distance;
        None
    }

    /// Returns how long a fragment probably lasts. The service sometimes lists no duration.
    fn expected(&self, entry: &Entry) -> Duration {
        if entry.duration.is_zero() { self.step } else { entry.duration }
    }

    /// Notes the place of a fragment on the axis of the plot.
    fn place(&mut self, entry: &Entry, next: Option<&Entry>, gap: Option<Duration>) {
        let Some(start) = self.axis_time(entry) else { return };
        let own_end = start + self.expected(entry).as_secs_f64() * 1000.0;
        // Without a gap, what is between two fragments is jitter of the clock.
        let end = match next.and_then(|next| self.axis_time(next)) {
            Some(next) if gap.is_none() && next >= start => next,
            _ => own_end,
        };
        self.last_end = self.last_end.max(end);
        if self.is_plotted {
            self.plotted.push(Stored { start, end, duration: entry.duration, bytes: entry.bytes, gap });
        }
    }

    /// Returns the start of a fragment in milliseconds. The first fragment decides whether there is a clock.
    fn axis_time(&self, entry: &Entry) -> Option<f64> {
        let has_time = self.first.as_ref().is_none_or(|first| first.time(self.clock).is_some());
        let time = if has_time { entry.time(self.clock) } else { entry.timecode };
        time.map(|time| time.as_millis() as f64)
    }

    /// Adds the last fragment.
    fn finish(&mut self) {
        if let Some(last) = self.before.take() {
            self.covered += self.expected(&last);
            self.place(&last, None, None);
        }
    }

    /// Returns the range: what was asked for, or else from the first fragment to the last. `None` if there is none.
    fn span(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> Option<Span> {
        let first = self.first.as_ref()?;
        let has_time = first.time(self.clock).is_some();
        let begins = self.axis_time(first)?;
        let asked = |time: Option<Timestamp>| time.filter(|_| has_time).map(|time| time.as_millis() as f64);
        let start = asked(start).map_or(begins, |start| start.min(begins));
        let end = asked(end).map_or(self.last_end, |end| end.max(self.last_end));
        Some(Span { start, end, has_time })
    }

    /// Returns how much of the range is covered in percent, rounded down, so that 100 means all.
    fn percent(&self, span: &Span) -> f64 {
        let length = span.duration().as_secs_f64();
        // The ends of the range are rounded to milliseconds.
        let covered = self.covered + Duration::from_millis(1);
        let share = if length > 0.0 { covered.as_secs_f64() / length } else { 1.0 };
        (share.min(1.0) * 1000.0).floor() / 10.0
    }

    fn summary(&self, span: &Span) -> String {
        let missing = time::duration(self.missing);
        let gaps = match self.gaps {
            0 => "no gap".into(),
            1 => format!("1 gap of {missing}"),
            gaps => format!("{gaps} gaps of {missing} in all"),
        };
        format!(
            "{}, {}, {} of {} covered ({:.1} %), {gaps}",
            words::count(self.fragments, "fragment"),
            HumanBytes(self.bytes),
            time::duration(self.covered),
            time::duration(span.duration()),
            self.percent(span),
        )
    }

    fn extent(&self, name: &str, span: &Span) -> Extent {
        let at = |millis: f64| time::local(Timestamp::from_millis(millis as i64));
        let range = match span.has_time {
            true => format!("{} to {}", at(span.start), at(span.end)),
            false => time::duration(span.duration()),
        };
        Extent {
            name: name.into(),
            // A file without a clock begins at 0.
            start: span.start,
            end: span.end,
            zone: span.has_time.then(TimeZone::system),
            facts: Extent::facts(&range, self.fragments, self.bytes, self.percent(span), self.gaps),
        }
    }
}
