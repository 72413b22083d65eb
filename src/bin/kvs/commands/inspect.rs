//! `kvs inspect`.

use std::fmt::{self, Write as _};

use clap::Args;
use futures::{FutureExt, StreamExt};
use kinesis_video::{BodyItem, Error, Fault, Fragment, FragmentEnd, Packet, Skipped, TagValue, Timestamp, Track};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::screen::{BOLD, DIM, Screen, WARNING};
use crate::source::{Input, Selection, Source, save_position};
use crate::time;
use crate::words::{self, count};

/// Print what a SOURCE contains: its fragments, tracks, tags and packets.
///
/// A payload of GetMedia or GetMediaForFragmentList and any other MKV file can be read. Of a stream, all fragments are
/// shown as they arrive.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  kvs inspect recording.mkv
  kvs inspect damaged.mkv --resync            read on after damage
  kvs inspect recording.mkv --tree | less     every element of the MKV file
  kvs inspect front-door --until \"1 fragment\" --packets --json

With --json, one object per item:
  fragment  index, offset, length, end (trailer, next, eof or cut),
            fragment_number, server_timestamp_ms, producer_timestamp_ms,
            millis_behind_now, continuation_token, first_timecode_ns,
            last_timecode_ns, tags: [[name, text or {hex}]],
            tracks: [{number, uid, type, name, codec_id, codec_private_length,
            width, height, sampling_frequency, channels, default_duration_ns}],
            packets: {total, keyframes, bytes, by_track}
  packet    fragment (its index), packet, track, timecode_ns, producer_time_ms,
            duration_ns, key, bytes
  fault     index, fault: {id, message, fragment_number}
  skipped   skipped: {offset, length, reason}
  error     error: {kind, offset, path, message}, the last line; the same in
            words is on standard error
Times are milliseconds since 1970. What is not known is null.")]
pub(crate) struct Inspect {
    /// The stream, file, or - for standard input.
    #[arg(value_name = "SOURCE")]
    source: Source,
    #[command(flatten)]
    selection: Selection,
    /// Also print a line per packet.
    #[arg(long)]
    packets: bool,
    /// Also print the tree of elements. Not with --json.
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// Continue after damage in a file, and print which bytes were skipped.
    #[arg(long)]
    resync: bool,
    /// The number of bytes of a file to decode at a time. The output does not depend on it.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    chunk: Option<u32>,
}

impl Inspect {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let chunk = self.chunk.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut input = self.selection.open_body(&self.source, self.resync, chunk, cx).await?;
        let mut lines = Lines { screen: &cx.screen, text: String::new() };
        let shown = self.show(&mut input, &mut lines).await;
        let flushed = lines.flush();
        input.bar.finish_and_clear();
        save_position(input.acks, cx).await?;
        flushed?;
        let items = shown.map_err(|failure| failure.about(self.source.to_string()))?;
        if items == 0 && !cx.signals.is_interrupted() {
            return Err(Failure::nothing(format!("{}: there is nothing in it to inspect", self.source)));
        }
        Ok(())
    }

    /// Prints every item, and returns how many there were.
    async fn show(&self, input: &mut Input<BodyItem>, lines: &mut Lines<'_>) -> Result<u64> {
        let (mut items, mut index) = (0, 0);
        loop {
            let item = match input.items.next().now_or_never() {
                Some(item) => item,
                None => {
                    // Nobody shall wait for what is known already.
                    lines.flush()?;
                    input.items.next().await
                }
            };
            let item = match item {
                Some(Ok(item)) => item,
                Some(Err(error)) => {
                    if lines.screen.is_json() {
                        lines.object(&json_error(&error))?;
                    }
                    return Err(error.into());
                }
                None => return Ok(items),
            };
            if lines.screen.is_json() {
                self.print_json(lines, &item, index)?;
            } else {
                self.print_text(lines, &item, index)?;
            }
            items += 1;
            index += u64::from(!matches!(item, BodyItem::Skipped(_)));
            if let (Some(acks), BodyItem::Fragment(fragment)) = (&input.acks, &item) {
                lines.flush()?;
                acks.done(&fragment.position());
            }
        }
    }

    fn print_json(&self, lines: &mut Lines<'_>, item: &BodyItem, index: u64) -> Result<()> {
        match item {
            BodyItem::Fragment(fragment) => {
                lines.object(&json_fragment(index, fragment))?;
                if self.packets {
                    fragment.packets().try_for_each(|packet| lines.object(&json_packet(index, &packet)))?;
                }
                Ok(())
            }
            BodyItem::Fault(fault) => lines.object(&json_fault(index, fault)),
            BodyItem::Skipped(skipped) => lines.object(&json_skipped(skipped)),
            _ => Ok(()),
        }
    }

    fn print_text(&self, lines: &mut Lines<'_>, item: &BodyItem, index: u64) -> Result<()> {
        match item {
            BodyItem::Fragment(fragment) => {
                text_fragment(lines, index, fragment)?;
                if self.packets {
                    fragment.packets().try_for_each(|packet| text_packet(lines, &packet))?;
                }
                if self.tree {
                    lines.add(format_args!("{}", fragment.elements()))?;
                }
                Ok(())
            }
            BodyItem::Fault(fault) => {
                lines.add(format_args!("{BOLD}{index}{BOLD:#}: {WARNING}fault{WARNING:#}, {}\n", fault.to_error()))
            }
            BodyItem::Skipped(skipped) => {
                let (length, offset) = (count(skipped.length(), "byte"), skipped.offset());
                lines.add(format_args!("{WARNING}skipped{WARNING:#} {length} at {offset}: {skipped}\n"))
            }
            _ => Ok(()),
        }
    }
}

/// Lines that go to standard output together.
struct Lines<'a> {
    screen: &'a Screen,
    text: String,
}

/// The size at which held lines are printed, in bytes.
const BUFFERED: usize = 64 << 10;

impl Lines<'_> {
    fn object(&mut self, object: &Value) -> Result<()> {
        self.add(format_args!("{object}\n"))
    }

    /// Adds whole lines.
    fn add(&mut self, lines: fmt::Arguments<'_>) -> Result<()> {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(lines);
        if self.text.len() < BUFFERED { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        match text.strip_suffix('\n') {
            None => Ok(()),
            Some(_) if self.screen.is_json() => self.screen.raw(text.as_bytes()),
            Some(lines) => self.screen.line(lines),
        }
    }
}

fn json_fragment(index: u64, fragment: &Fragment) -> Value {
    let tags: Vec<Value> = fragment
        .tags()
        .iter()
        .map(|tag| match tag.value() {
            binary @ TagValue::Binary(_) => json!([tag.name(), { "hex": binary.to_string() }]),
            text @ TagValue::Text(_) => json!([tag.name(), text.to_string()]),
        })
        .collect();
    let totals = Totals::of(fragment);
    let by_track = totals.by_track.iter().map(|(number, packets)| (number.to_string(), json!(packets)));
    json!({
        "index": index,
        "offset": fragment.offset(),
        "length": fragment.raw().len(),
        "end": fragment.end_reason().as_str(),
        "fragment_number": fragment.number().map(ToString::to_string),
        "server_timestamp_ms": fragment.server_time().map(Timestamp::as_millis),
        "producer_timestamp_ms": fragment.producer_time().map(Timestamp::as_millis),
        "millis_behind_now": fragment.behind_now().map(|behind| behind.as_millis() as u64),
        "continuation_token": fragment.continuation_token(),
        "tags": tags,
        "tracks": fragment.tracks().iter().map(json_track).collect::<Vec<_>>(),
        "packets": {
            "total": totals.packets,
            "keyframes": totals.keyframes,
            "bytes": totals.bytes,
            "by_track": by_track.collect::<Map<_, _>>(),
        },
        "first_timecode_ns": totals.first_timecode_ns,
        "last_timecode_ns": totals.last_timecode_ns,
    })
}

fn json_track(track: &Track) -> Value {
    json!({
        "number": track.number(),
        "uid": track.uid(),
        "type": track.kind().name(),
        "name": track.name(),
        "codec_id": track.codec_id(),
        "codec_private_length": track.codec_private().map(bytes::Bytes::len),
        "width": track.width(),
        "height": track.height(),
        "sampling_frequency": track.sampling_frequency(),
        "channels": track.channels(),
        "default_duration_ns": track.default_duration_ns(),
    })
}

fn json_packet(index: u64, packet: &Packet) -> Value {
    json!({
        "fragment": index,
        "packet": packet.ordinal(),
        "track": packet.track_number(),
        "timecode_ns": packet.timecode_ns(),
        "producer_time_ms": packet.producer_time().map(Timestamp::as_millis),
        "duration_ns": packet.duration_ns(),
        "key": packet.is_key(),
        "bytes": packet.payload().len(),
    })
}

fn json_fault(index: u64, fault: &Fault) -> Value {
    let number = fault.fragment_number().map(ToString::to_string);
    json!({ "index": index, "fault": { "id": fault.id(), "message": fault.message(), "fragment_number": number } })
}

fn json_skipped(skipped: &Skipped) -> Value {
    let (offset, length, reason) = (skipped.offset(), skipped.length(), skipped.to_string());
    json!({ "skipped": { "offset": offset, "length": length, "reason": reason } })
}

fn json_error(error: &Error) -> Value {
    let error = json!({
        // The name of the variant is for programs.
        "kind": format!("{:?}", error.kind()),
        "offset": error.position().offset(),
        "path": error.position().path(),
        "message": error.to_string(),
    });
    json!({ "error": error })
}

fn text_fragment(lines: &mut Lines<'_>, index: u64, fragment: &Fragment) -> Result<()> {
    let totals = Totals::of(fragment);
    let mut text = format!("{BOLD}{index}{BOLD:#}: ");
    if let Some(number) = fragment.number() {
        let _ = write!(text, "fragment {DIM}{number}{DIM:#}, ");
    }
    let end = match fragment.end_reason() {
        FragmentEnd::Cut => "cut off",
        FragmentEnd::EndOfBody => "up to the end of the input",
        FragmentEnd::NextDocument => "ended by the next one",
        FragmentEnd::Trailer => "complete",
        other => other.as_str(),
    };
    let (bytes, offset) = (count(fragment.raw().len() as u64, "byte"), fragment.offset());
    let _ = write!(text, "{bytes} at {offset}, {end}\n  ");
    if let Some(time) = fragment.producer_time() {
        let _ = write!(text, "produced {}, ", time::local(time));
    }
    if let Some(behind) = fragment.behind_now() {
        let _ = write!(text, "{} behind, ", time::duration(behind));
    }
    let (packets, keys) = (count(totals.packets, "packet"), count(totals.keyframes, "key frame"));
    let _ = writeln!(text, "{packets}, {keys}, {}", time::duration(fragment.duration()));
    for discontinuity in fragment.discontinuities() {
        let _ = writeln!(text, "  {WARNING}{}{WARNING:#}", words::discontinuity(discontinuity));
    }
    for track in fragment.tracks().iter() {
        let _ = write!(text, "  track {} {} {}", track.number(), track.kind().name(), track.codec_id());
        if let Some(name) = track.name() {
            let _ = write!(text, " {}", Quoted(name));
        }
        match (track.width(), track.height(), track.sampling_frequency()) {
            (Some(width), Some(height), _) => drop(writeln!(text, " {width}x{height}")),
            (_, _, Some(hertz)) => drop(writeln!(text, " {hertz} Hz")),
            _ => text.push('\n'),
        }
    }
    for tag in fragment.tags() {
        let _ = match tag.value() {
            binary @ TagValue::Binary(_) => writeln!(text, "  tag {} = 0x{binary}", Plain(&tag.name())),
            TagValue::Text(value) => writeln!(text, "  tag {} = {}", Plain(&tag.name()), Quoted(&value)),
        };
    }
    lines.add(format_args!("{text}"))
}

fn text_packet(lines: &mut Lines<'_>, packet: &Packet) -> Result<()> {
    let key = if packet.is_key() { ", key" } else { "" };
    let millis = packet.timecode_ns() as f64 / 1e6;
    let bytes = count(packet.payload().len() as u64, "byte");
    lines.add(format_args!(
        "  packet {} track {} at {millis} ms, {bytes}{key}\n",
        packet.ordinal(),
        packet.track_number()
    ))
}

/// Text from the media, whose control characters would command the terminal.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

/// [`Plain`] text in quotation marks.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Plain(self.0))
    }
}

/// The totals of a fragment.
#[derive(Default)]
struct Totals {
    packets: u64,
    keyframes: u64,
    bytes: u64,
    by_track: Vec<(u64, u64)>,
    first_timecode_ns: Option<i64>,
    last_timecode_ns: Option<i64>,
}

impl Totals {
    fn of(fragment: &Fragment) -> Self {
        let mut totals = Self::default();
        for packet in fragment.packets() {
            totals.packets += 1;
            totals.keyframes += u64::from(packet.is_key());
            totals.bytes += packet.payload().len() as u64;
            match totals.by_track.iter_mut().find(|(number, _)| *number == packet.track_number()) {
                Some((_, packets)) => *packets += 1,
                None => totals.by_track.push((packet.track_number(), 1)),
            }
            let time = packet.timecode_ns();
            totals.first_timecode_ns = Some(totals.first_timecode_ns.map_or(time, |first| first.min(time)));
            totals.last_timecode_ns = Some(totals.last_timecode_ns.map_or(time, |last| last.max(time)));
        }
        totals
    }
}
