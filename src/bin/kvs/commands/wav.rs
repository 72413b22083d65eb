//! `kvs wav`.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use futures::{FutureExt, SinkExt, Stream, StreamExt, TryStreamExt};
use indicatif::HumanBytes;
use kinesis_video::audio::{AudioDiscontinuity, SAMPLE_RATE, StereoChunk};
use kinesis_video::{
    Acks, AudioChunk, AudioStreamExt, ErrorKind, Fragment, FragmentStreamExt, MediaSink, Party, Position, Timestamp,
    Track, WavFile, WavSink,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::plot::{Peaks, PictureFile, Waveform};
use crate::screen::{BOLD, Screen};
use crate::source::{Selection, Source, save_position};
use crate::{time, words};

/// Save Amazon Connect calls as WAV files.
///
/// Missing audio is filled with silence, so both parties stay in step. A line per contact tells how much was. A stream
/// is followed until it is interrupted, or as --end, --until and --idle say.
///
/// For -o call.wav the files are call.wav, or with --per-party call-AUDIO_FROM_CUSTOMER.wav and
/// call-AUDIO_TO_CUSTOMER.wav. With several contacts, their ids are in the names: call-CONTACT.wav. Files get these
/// names when they are complete, and replace older ones. With --checkpoint they get a free name instead, such as
/// call-2.wav, because they continue the older ones.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per contact:
  contact, from_customer_ms, from_customer_filled_ms, to_customer_ms, to_customer_filled_ms, trimmed_ms, files

Examples:
  kvs wav call.mkv -o call.wav --waveform call.svg
  kvs wav calls --start earliest --contact 4a573372-1f28-4e26-b97b-3f8b5d2a9e11 --idle 10s -o call.wav
  kvs wav calls --start \"1h ago\" --end now --per-party -o calls/call.wav")]
pub(crate) struct Wav {
    /// The stream or file.
    source: Source,
    /// The file, or the beginning of the names of several.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Save only this contact.
    #[arg(long, value_name = "ID")]
    contact: Option<String>,
    /// Write one file per contact: the customer left, the agent right. This is the default.
    #[arg(long, group = "layout")]
    stereo: bool,
    /// Write a file for each party.
    #[arg(long, group = "layout")]
    per_party: bool,
    /// Write a file for each party and fragment, without silence for missing audio.
    #[arg(long, group = "layout")]
    per_fragment: bool,
    /// Draw both parties' audio over time, a file per contact. The name ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    waveform: Option<PictureFile>,
    #[command(flatten)]
    selection: Selection,
}

impl Wav {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let prefix = prefix(&self.output)?;
        let name = self.source.to_string();
        let input = self.selection.open(&self.source, cx).await?;
        let heard = Heard::default();
        heard.lock().draws = self.waveform.is_some();
        heard.lock().keeps_positions = input.acks.is_some();
        let counting = heard.clone();
        let fragments = input.items.inspect_ok(move |fragment| counting.lock().fragment(fragment));
        let mut audio = fragments.connect_audio();
        if let Some(contact) = &self.contact {
            audio = audio.contact(contact.as_str());
        }
        let counting = heard.clone();
        let audio = audio.inspect_ok(move |chunk| counting.lock().chunk(chunk));

        let mut sink = match self.per_fragment {
            true => WavSink::per_fragment(&prefix),
            // Older files are replaced at the end, when the final names are known.
            false => WavSink::per_contact(&prefix).keep_existing(true),
        };
        let recorder = Recorder::new(&self, &heard, input.acks.as_ref(), &cx.screen);
        let Recorded { received, written, drawn } = if self.per_fragment || self.per_party {
            recorder.record(audio, &mut sink).await
        } else {
            recorder.record(audio.stereo(), &mut sink).await
        };
        input.bar.finish_and_clear();
        let (calls, fragments) = {
            let mut heard = heard.lock();
            (std::mem::take(&mut heard.calls), heard.fragments)
        };
        if calls.is_empty() {
            save_position(input.acks, cx).await?;
            return self.no_audio(&name, fragments, &heard.lock().tracks, received, cx);
        }

        let is_several = calls.len() > 1;
        let files = match self.per_fragment {
            true => sink.files().iter().map(|file| (file.clone(), file.path().to_owned())).map(Ok).collect(),
            false => give_names(sink.files(), &prefix, is_several, self.selection.has_checkpoint()),
        };
        let (files, named): (Vec<_>, Vec<_>) = files.into_iter().partition(Result::is_ok);
        let files: Vec<(WavFile, PathBuf)> = files.into_iter().flatten().collect();
        let named = named.into_iter().find_map(Result::err).map_or(Ok(()), Err);
        let shown = show(&calls, &files, cx);
        let last = heard.lock().peaks.take();
        let drawing = last.and_then(|peaks| self.drawing(&calls, calls.len() - 1, peaks, is_several));
        let drawn = match drawing {
            Some((file, waveform)) => drawn.and(file.save(&waveform, &cx.screen).await),
            None => drawn,
        };
        if let (Some(acks), true) = (&input.acks, written.is_ok() && named.is_ok())
            && let Some(position) = heard.lock().positions.back()
        {
            acks.done_through(position);
        }
        let saved = save_position(input.acks, cx).await;
        let summary = MediaSink::<AudioChunk>::summary(&sink);
        cx.screen.note(&format!(
            "{}, {}, {}, {}",
            words::count(calls.len() as u64, "contact"),
            words::count(fragments, "fragment"),
            words::count(summary.files(), "file"),
            HumanBytes(summary.bytes()),
        ));
        written?;
        named?;
        shown?;
        drawn?;
        saved?;
        received.map_err(|error| Failure::from(error).about(&name))
    }

    /// Returns the picture of a contact and its file, if pictures were asked for.
    fn drawing(&self, calls: &[Call], at: usize, peaks: Peaks, is_several: bool) -> Option<(PictureFile, Waveform)> {
        let (mut file, call) = (self.waveform.clone()?, calls.get(at)?);
        if is_several {
            let id = WavSink::contact_in_name(call.id.as_deref());
            let earlier = calls.iter().take(at).filter(|call| WavSink::contact_in_name(call.id.as_deref()) == id);
            file = match earlier.count() {
                0 => file.with_suffix(&id),
                earlier => file.with_suffix(&format!("{id}-{}", earlier + 1)),
            };
        }
        if self.selection.has_checkpoint() {
            file = file.unused();
        }
        Some((file, call.waveform(peaks)))
    }

    /// Explains why there is no audio.
    fn no_audio(
        &self,
        name: &str,
        fragments: u64,
        tracks: &[Track],
        received: kinesis_video::Result<()>,
        cx: &Context,
    ) -> Result<()> {
        let is_interrupted = cx.signals.is_interrupted();
        match received {
            // None of its tracks is of a call.
            Err(error) if error.kind() == ErrorKind::Unsupported && fragments > 0 => {}
            // The contact may still have come.
            Err(error) if error.kind() == ErrorKind::NotFound && is_interrupted => return Ok(()),
            Err(error) => return Err(Failure::from(error).about(name)),
            Ok(()) if is_interrupted => return Ok(()),
            Ok(()) if fragments == 0 => return Err(self.source.nothing("fragment")),
            Ok(()) => {}
        }
        let tracks: Vec<_> = tracks.iter().map(track_text).collect();
        let tracks = if tracks.is_empty() { "none".into() } else { tracks.join(", ") };
        Err(Failure::nothing(format!("no audio of an Amazon Connect call in {name}; its tracks: {tracks}")))
    }
}

/// Returns the beginning of the file names.
fn prefix(output: &Path) -> Result<PathBuf> {
    let text = output.as_os_str().to_string_lossy();
    if text == "-" {
        return Err(Failure::usage("WAV files cannot be written to standard output").hint("-o call.wav"));
    }
    if text.ends_with(std::path::is_separator) || output.is_dir() {
        let what = format!("-o needs the name of a file, but {text} is a folder");
        return Err(Failure::usage(what).hint(format!("-o {}", output.join("call.wav").display())));
    }
    let others = ["aac", "flac", "m4a", "mkv", "mov", "mp3", "mp4", "ogg", "opus"];
    if let Some(other) =
        output.extension().and_then(|extension| extension.to_str()).filter(|other| others.contains(other))
    {
        let what = format!("kvs wav writes WAV, not {other}");
        return Err(Failure::usage(what).hint(format!("-o {}", output.with_extension("wav").display())));
    }
    let is_wav = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"));
    Ok(if is_wav { output.with_extension("") } else { output.to_owned() })
}

/// Returns the text of a track: its kind, codec and name.
fn track_text(track: &Track) -> String {
    let name = track.name().filter(|name| !name.is_empty()).map(|name| format!(" \"{name}\"")).unwrap_or_default();
    format!("{} {}{name}", track.kind().name(), words::codec(track.codec_id()))
}

/// Renames complete files to their final names, and returns these.
///
/// While there may be more contacts, every name has a contact id. An older file is replaced only now, by a complete
/// one, or not at all if it is to be kept.
fn give_names(
    files: &[WavFile],
    prefix: &Path,
    is_several: bool,
    keeps_older: bool,
) -> Vec<Result<(WavFile, PathBuf)>> {
    let mut used = HashSet::new();
    let mut rename = |file: &WavFile| {
        let mut stem = prefix.as_os_str().to_owned();
        let contact = is_several.then(|| WavSink::contact_in_name(file.contact_id()));
        for part in contact.into_iter().chain(file.party().map(|party| party.track_name().to_owned())) {
            stem.push("-");
            stem.push(part);
        }
        let names = (1u64..).map(|number| {
            let mut name = stem.clone();
            name.push(if number == 1 { ".wav".into() } else { format!("-{number}.wav") });
            PathBuf::from(name)
        });
        let is_free = |name: &PathBuf| !used.contains(name) && (name == file.path() || !keeps_older || !name.exists());
        let name = names.into_iter().find(is_free).unwrap_or_default();
        used.insert(name.clone());
        if name != file.path() {
            fs::rename(file.path(), &name).map_err(|error| Failure::of_file("write", &name, &error))?;
        }
        Ok((file.clone(), name))
    };
    files.iter().map(&mut rename).collect()
}

/// Prints the totals and the files of each contact.
fn show(calls: &[Call], files: &[(WavFile, PathBuf)], cx: &Context) -> Result<()> {
    let mut files = files.iter().peekable();
    for call in calls {
        let mut names = Vec::new();
        while let Some((_, name)) = files.next_if(|(file, _)| file.contact_id() == call.id.as_deref()) {
            names.push(name.display().to_string());
        }
        if cx.screen.is_json() {
            cx.screen.object(&call.object(&names))?;
        } else {
            cx.screen.line(&call.text(&names))?;
        }
    }
    Ok(())
}

/// The state of the conversations so far. Clones share it.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<State>>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    fragments: u64,
    /// The tracks of the first fragment.
    tracks: Vec<Track>,
    /// The contacts, in the order of arrival.
    calls: Vec<Call>,
    draws: bool,
    /// The peaks of the contact that came last, and of those before that are not drawn yet.
    peaks: Option<Peaks>,
    undrawn: Vec<(usize, Peaks)>,
    keeps_positions: bool,
    /// The positions of the fragments since the contact that came last has begun.
    positions: VecDeque<Position>,
}

/// The totals of a contact, in samples.
#[derive(Clone, Default)]
struct Call {
    id: Option<String>,
    begins: Option<Timestamp>,
    samples: [u64; 2],
    filled: [u64; 2],
    trimmed: u64,
    /// The last fragment before this contact.
    before: Option<Position>,
}

impl State {
    fn fragment(&mut self, fragment: &Fragment) {
        if self.fragments == 0 {
            self.tracks = fragment.tracks().to_vec();
        }
        self.fragments += 1;
        if self.keeps_positions {
            self.positions.push_back(fragment.position());
        }
    }

    fn chunk(&mut self, chunk: &AudioChunk) {
        let id = chunk.contact_id();
        if self.calls.last().is_none_or(|last| is_other(last.id.as_deref(), id)) {
            let before = self.drop_positions_before(chunk);
            self.calls.push(Call { before, begins: chunk.producer_time(), ..Call::default() });
            if self.draws
                && let Some(peaks) = self.peaks.replace(Peaks::default())
            {
                self.undrawn.push((self.calls.len() - 2, peaks));
            }
        }
        let Some(call) = self.calls.last_mut() else { return };
        call.id = id.map(ToOwned::to_owned);
        if let Some(peaks) = &mut self.peaks {
            peaks.add(chunk.party(), chunk.position(), chunk.samples(), chunk.is_filled());
        }
        let (party, length) = (usize::from(chunk.party() == Party::ToCustomer), chunk.samples().len() as u64);
        if let (Some(samples), Some(filled)) = (call.samples.get_mut(party), call.filled.get_mut(party)) {
            *samples += length;
            *filled += if chunk.is_filled() { length } else { 0 };
        }
        for discontinuity in chunk.discontinuities() {
            if let AudioDiscontinuity::Trimmed(samples) = discontinuity {
                call.trimmed += samples;
            }
        }
    }

    /// Drops the positions before that of a chunk, and returns the last of them.
    fn drop_positions_before(&mut self, chunk: &AudioChunk) -> Option<Position> {
        let number = chunk.fragment().number()?;
        let at = self.positions.iter().position(|position| position.number() == Some(number))?;
        self.positions.drain(..at).next_back()
    }
}

/// Returns whether a contact id is another one. An id that becomes known is not.
fn is_other(before: Option<&str>, now: Option<&str>) -> bool {
    before.is_some() && before != now
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}

fn millis(samples: u64) -> u64 {
    samples * 1000 / u64::from(SAMPLE_RATE)
}

impl Call {
    fn text(&self, files: &[String]) -> String {
        let Self { id, samples: [from, to], filled: [from_filled, to_filled], trimmed, .. } = self;
        let filled = |samples: u64| match samples {
            0 => String::new(),
            samples => format!(" ({:.3} s of silence filled in)", seconds(samples)),
        };
        let trimmed = match trimmed {
            0 => String::new(),
            samples => format!(", {:.3} s trimmed", seconds(*samples)),
        };
        let files = match files {
            [] => String::new(),
            [one] => format!("  {one}"),
            [one, other] => format!("  {one}  {other}"),
            [first, .., last] => format!("  {} files, {first} to {last}", files.len()),
        };
        format!(
            "{BOLD}contact {}{BOLD:#}  from customer {:.3} s{}, to customer {:.3} s{}{trimmed}{files}",
            id.as_deref().unwrap_or("unknown"),
            seconds(*from),
            filled(*from_filled),
            seconds(*to),
            filled(*to_filled),
        )
    }

    fn object(&self, files: &[String]) -> Value {
        let Self { id, samples: [from, to], filled: [from_filled, to_filled], trimmed, .. } = self;
        json!({
            "contact": id,
            "from_customer_ms": millis(*from),
            "from_customer_filled_ms": millis(*from_filled),
            "to_customer_ms": millis(*to),
            "to_customer_filled_ms": millis(*to_filled),
            "trimmed_ms": millis(*trimmed),
            "files": files,
        })
    }

    fn waveform(&self, peaks: Peaks) -> Waveform {
        let [from, to] = self.samples;
        let begins = self.begins.map(|begins| format!("{}, ", time::local(begins))).unwrap_or_default();
        let duration = time::duration(Duration::from_secs_f64(seconds(from.max(to))));
        let filled = seconds(self.filled.iter().sum());
        let filled = if filled > 0.0 { format!(", {filled:.1} s of silence filled in") } else { String::new() };
        Waveform {
            title: format!("Contact {}", self.id.as_deref().unwrap_or("unknown")),
            facts: format!("{begins}{duration}{filled}"),
            peaks,
        }
    }
}

/// Sends audio to the files, and acknowledges and draws the contacts whose files are complete.
struct Recorder<'a> {
    command: &'a Wav,
    heard: &'a Heard,
    acks: Option<&'a Acks>,
    screen: &'a Screen,
    /// The items that begin a contact, by their number and that of the contact. Their files are not complete yet.
    begun: VecDeque<(u64, usize)>,
    contact: Option<String>,
    contacts: usize,
    drawn: Result<()>,
}

/// The results of receiving, writing and drawing.
struct Recorded {
    received: kinesis_video::Result<()>,
    written: Result<()>,
    drawn: Result<()>,
}

/// Audio of a contact.
trait OfContact {
    fn contact_id(&self) -> Option<&str>;
}

impl OfContact for AudioChunk {
    fn contact_id(&self) -> Option<&str> {
        self.contact_id()
    }
}

impl OfContact for StereoChunk {
    fn contact_id(&self) -> Option<&str> {
        self.contact_id()
    }
}

impl<'a> Recorder<'a> {
    fn new(command: &'a Wav, heard: &'a Heard, acks: Option<&'a Acks>, screen: &'a Screen) -> Self {
        Self { command, heard, acks, screen, begun: VecDeque::new(), contact: None, contacts: 0, drawn: Ok(()) }
    }

    async fn record<T: OfContact>(
        mut self,
        mut audio: impl Stream<Item = kinesis_video::Result<T>> + Unpin,
        sink: &mut WavSink,
    ) -> Recorded
    where
        WavSink: MediaSink<T>,
    {
        let mut sent = 0;
        let (received, written) = loop {
            let next = match audio.next().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing more is there for now, so that the audio so far can be written.
                    if let Err(error) = SinkExt::<T>::flush(sink).await {
                        break (Ok(()), Err(error));
                    }
                    self.completes(MediaSink::<T>::summary(sink).items()).await;
                    audio.next().await
                }
            };
            let item = match next {
                Some(Ok(item)) => item,
                Some(Err(error)) => break (Err(error), Ok(())),
                None => break (Ok(()), Ok(())),
            };
            self.begins(item.contact_id(), sent);
            if let Err(error) = sink.feed(item).await {
                break (Ok(()), Err(error));
            }
            sent += 1;
            self.completes(MediaSink::<T>::summary(sink).items()).await;
        };
        let closed = SinkExt::<T>::close(sink).await;
        Recorded { received, written: written.and(closed).map_err(Failure::from), drawn: self.drawn }
    }

    /// Notes the contact of the next item.
    fn begins(&mut self, contact: Option<&str>, sent: u64) {
        if self.contacts == 0 || is_other(self.contact.as_deref(), contact) {
            self.begun.push_back((sent, self.contacts));
            self.contacts += 1;
        }
        if self.contact.as_deref() != contact {
            self.contact = contact.map(ToOwned::to_owned);
        }
    }

    /// Acknowledges and draws the contacts before the last one that has begun in what is written.
    async fn completes(&mut self, written: u64) {
        while let Some((_, call)) = self.begun.pop_front_if(|(first, _)| *first < written) {
            let before = self.heard.lock().calls.get(call).and_then(|call| call.before.clone());
            if let (Some(acks), Some(before)) = (self.acks, before) {
                acks.done_through(&before);
            }
        }
        let undrawn = std::mem::take(&mut self.heard.lock().undrawn);
        for (at, peaks) in undrawn {
            let drawing = self.command.drawing(&self.heard.lock().calls, at, peaks, true);
            if let Some((file, waveform)) = drawing {
                let saved = file.save(&waveform, self.screen).await;
                self.drawn = std::mem::replace(&mut self.drawn, Ok(())).and(saved);
            }
        }
    }
}
