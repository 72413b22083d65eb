//! Prints the contents of a payload of GetMedia or GetMediaForFragmentList, or of any MKV file.
//!
//! ```text
//! inspect [--json] [--tree] [--packets] [--chunk BYTES] [--resync] FILE|-
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use futures::StreamExt;
use kinesis_video::{BodyItem, BodyStream, Error, Fragment, Limits, Packet, TagValue, Track};
use serde_json::{Value, json};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// Prints the fragments of a Kinesis Video Streams payload, or of any MKV file.
#[derive(Parser)]
struct Options {
    /// Print JSON: one object per line for each fragment, fault, range of skipped bytes, and error.
    #[arg(long)]
    json: bool,
    /// Also print the tree of elements. Not with --json.
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// Also print a line per packet.
    #[arg(long)]
    packets: bool,
    /// The number of bytes to decode at a time. The output does not depend on it.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, value_parser = clap::value_parser!(u64).range(1..))]
    chunk: u64,
    /// Continue after damage, and print which bytes were skipped.
    #[arg(long)]
    resync: bool,
    /// The file to read, or - for standard input.
    file: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let input: Box<dyn AsyncRead + Unpin> = if options.file.as_os_str() == "-" {
        Box::new(tokio::io::stdin())
    } else {
        match tokio::fs::File::open(&options.file).await {
            Ok(file) => Box::new(file),
            Err(error) => {
                eprintln!("{}: {error}", options.file.display());
                return ExitCode::FAILURE;
            }
        }
    };
    match show(input, &options, &mut io::BufWriter::new(io::stdout().lock())).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader of the output, such as `head`, has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints every item, and returns whether the input was read without an error.
async fn show(input: impl AsyncRead + Unpin, options: &Options, out: &mut impl Write) -> io::Result<bool> {
    // The file is on this machine already, so its fragments may be of any size.
    let limits = Limits::default().fragment_bytes(u32::MAX >> 1).blocks(u32::MAX);
    let chunks = ReaderStream::with_capacity(input, usize::try_from(options.chunk).unwrap_or(usize::MAX).min(1 << 24));
    let mut items = BodyStream::from_stream(chunks).limits(limits).resync(options.resync);
    let mut index = 0;
    while let Some(item) = items.next().await {
        match item {
            Ok(item) if options.json => json_item(out, options, &item, &mut index)?,
            Ok(item) => text_item(out, options, &item, &mut index)?,
            Err(error) => {
                if options.json {
                    writeln!(out, "{}", json!({ "error": json_error(&error) }))?;
                } else {
                    writeln!(out, "error: {error}")?;
                }
                out.flush()?;
                return Ok(false);
            }
        }
    }
    out.flush()?;
    Ok(true)
}

fn json_item(out: &mut impl Write, options: &Options, item: &BodyItem, index: &mut u64) -> io::Result<()> {
    match item {
        BodyItem::Fragment(fragment) => {
            writeln!(out, "{}", json_fragment(*index, fragment))?;
            if options.packets {
                for packet in fragment.packets() {
                    writeln!(out, "{}", json_packet(*index, &packet))?;
                }
            }
            *index += 1;
        }
        BodyItem::Fault(fault) => {
            let number = fault.fragment_number().map(ToString::to_string);
            let fault = json!({ "id": fault.id(), "message": fault.message(), "fragment_number": number });
            writeln!(out, "{}", json!({ "index": *index, "fault": fault }))?;
            *index += 1;
        }
        BodyItem::Skipped(skipped) => {
            let (offset, length, reason) = (skipped.offset(), skipped.length(), skipped.to_string());
            writeln!(out, "{}", json!({ "skipped": { "offset": offset, "length": length, "reason": reason } }))?;
        }
        _ => {}
    }
    Ok(())
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
    json!({
        "index": index,
        "offset": fragment.offset(),
        "length": fragment.raw().len(),
        "end": fragment.end_reason().as_str(),
        "fragment_number": fragment.number().map(ToString::to_string),
        "server_timestamp_ms": fragment.server_time().map(kinesis_video::Timestamp::as_millis),
        "producer_timestamp_ms": fragment.producer_time().map(kinesis_video::Timestamp::as_millis),
        "millis_behind_now": fragment.behind_now().map(|behind| behind.as_millis() as u64),
        "continuation_token": fragment.continuation_token(),
        "tags": tags,
        "tracks": fragment.tracks().iter().map(json_track).collect::<Vec<_>>(),
        "packets": {
            "total": totals.packets,
            "keyframes": totals.keyframes,
            "bytes": totals.bytes,
            "by_track": totals.by_track.iter().map(|(number, packets)| (number.to_string(), json!(packets))).collect::<serde_json::Map<_, _>>(),
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
        "codec_private_length": track.codec_private().map(tokio_util::bytes::Bytes::len),
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
        "producer_time_ms": packet.producer_time().map(kinesis_video::Timestamp::as_millis),
        "duration_ns": packet.duration_ns(),
        "key": packet.is_key(),
        "bytes": packet.payload().len(),
    })
}

fn json_error(error: &Error) -> Value {
    json!({
        "kind": format!("{:?}", error.kind()),
        "offset": error.position().offset(),
        "path": error.position().path(),
        "message": error.to_string(),
    })
}

fn text_item(out: &mut impl Write, options: &Options, item: &BodyItem, index: &mut u64) -> io::Result<()> {
    match item {
        BodyItem::Fragment(fragment) => {
            text_fragment(out, *index, fragment)?;
            if options.packets {
                for packet in fragment.packets() {
                    let (track, bytes) = (packet.track_number(), packet.payload().len());
                    let key = if packet.is_key() { " key" } else { "" };
                    let milliseconds = packet.timecode_ns() as f64 / 1e6;
                    writeln!(
                        out,
                        "  packet {} track {track} at {milliseconds} ms, {bytes} bytes{key}",
                        packet.ordinal()
                    )?;
                }
            }
            if options.tree {
                write!(out, "{}", fragment.elements())?;
            }
            *index += 1;
        }
        BodyItem::Fault(fault) => {
            writeln!(out, "{index}: fault {}", fault.to_error())?;
            *index += 1;
        }
        BodyItem::Skipped(skipped) => {
            writeln!(out, "skipped {} bytes at {}: {}", skipped.length(), skipped.offset(), skipped)?;
        }
        _ => {}
    }
    Ok(())
}

fn text_fragment(out: &mut impl Write, index: u64, fragment: &Fragment) -> io::Result<()> {
    let totals = Totals::of(fragment);
    write!(out, "{index}: {} bytes at {}, end {}", fragment.raw().len(), fragment.offset(), fragment.end_reason())?;
    if let Some(number) = fragment.number() {
        write!(out, ", fragment {number}")?;
    }
    if let Some(time) = fragment.producer_time() {
        write!(out, ", produced {time}")?;
    }
    if let Some(behind) = fragment.behind_now() {
        write!(out, ", {behind:?} behind")?;
    }
    writeln!(out, ", {} packets, {} key frames", totals.packets, totals.keyframes)?;
    for track in fragment.tracks().iter() {
        let name = track.name().unwrap_or("");
        write!(out, "  track {} {} {} {name:?}", track.number(), track.kind().name(), track.codec_id())?;
        match (track.width(), track.height(), track.sampling_frequency()) {
            (Some(width), Some(height), _) => writeln!(out, " {width}x{height}")?,
            (_, _, Some(hertz)) => writeln!(out, " {hertz} Hz")?,
            _ => writeln!(out)?,
        }
    }
    for tag in fragment.tags() {
        writeln!(out, "  tag {} = {:?}", tag.name(), tag.value().to_string())?;
    }
    Ok(())
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
