//! [`WavSink`]: calls to WAV files.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Sink;
use hound::{SampleFormat, WavSpec, WavWriter};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::MediaSink;
use crate::audio::{AudioChunk, Party, SAMPLE_RATE, StereoChunk};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::FragmentHeader;
use crate::summary::Summary;

/// So many bytes are gathered before a thread is asked to write them.
const BATCH: usize = 256 << 10;

/// What stands before the samples.
const HEADER: u64 = 44;

/// Sizes in a WAV file have 32 bits.
const LARGEST: u64 = u32::MAX as u64 - (64 << 10);

/// Writes calls as WAV files of 8 kHz and 16 bits.
///
/// | made with | takes | writes |
/// |---|---|---|
/// | [`create(path)`](WavSink::create) | [`StereoChunk`], or [`AudioChunk`] of one party | that file |
/// | [`per_party(prefix)`](WavSink::per_party) | either | `PREFIX-AUDIO_FROM_CUSTOMER.wav` and `PREFIX-AUDIO_TO_CUSTOMER.wav`, equally long |
/// | [`per_contact(prefix)`](WavSink::per_contact) | either | `PREFIX-CONTACT.wav`, or the two of each party with the contact before the party |
/// | [`per_fragment(prefix)`](WavSink::per_fragment) | [`AudioChunk`] | `PREFIX-FRAGMENT-AUDIO_…_CUSTOMER.wav`, what came in it and nothing else |
///
/// Files begin with the contact's first sample; a party that was never heard has none. Each is written as `NAME.part` and
/// renamed when it is whole. What its header says is brought up to date with each stretch that is written, every 256 KiB or
/// when nothing more comes for now, so that also after a crash it can be read. One that would become larger than a WAV file
/// can be, 4 GiB, goes on in `NAME-2.wav`; so does a contact that comes back after another.
///
/// # Errors
/// When it is closed, if there was no audio at all: no file is made then. When another contact begins, unless it is
/// [`per_contact`](WavSink::per_contact) or [`per_fragment`](WavSink::per_fragment). For chunks that were made in
/// [real time](crate::audio::Stereo::real_time), since something may be missing from them.
///
/// # Cancel safety
/// Dropping a `send()` future loses nothing that was sent. Dropping the sink without closing it leaves what was written under
/// its temporary name, with a header that is right; what was sent since the last stretch is lost.
///
/// # Memory
/// Half a megabyte, and the names of its files.
///
/// ```
/// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, WavSink};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let call = FragmentStream::new(body).connect_audio().contact("4a573372-1f28-4e26-b97b-3f8b5d2a9e11");
/// let summary = call.stereo().record(WavSink::create("call.wav")).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct WavSink {
    state: State,
    pending: Vec<Order>,
    bytes: usize,
    is_closing: bool,
    /// What went wrong first while it was being closed.
    failure: Option<Error>,
    /// As of the last batch that was written.
    summary: Summary,
}

enum State {
    Idle(Box<Writer>),
    Working(JoinHandle<(Box<Writer>, Result<()>)>),
    /// With the thread that had it.
    Lost,
}

/// How files are called, and what goes into one.
#[derive(Clone, Debug)]
enum Layout {
    One(PathBuf),
    Party(PathBuf),
    Contact(PathBuf),
    Fragment(PathBuf),
}

/// What is to be written.
enum Order {
    Mono(AudioChunk),
    Stereo(StereoChunk),
    /// All files are finished.
    Finish,
}

impl WavSink {
    /// Writes one call to this file.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self::new(Layout::One(path.into()))
    }

    /// Writes one call to two files, one for each party.
    pub fn per_party(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Party(prefix.into()))
    }

    /// Writes each contact to files of its own, with its id in their names.
    pub fn per_contact(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Contact(prefix.into()))
    }

    /// Writes each track of each fragment to a file of its own, as AWS's library for Python does.
    pub fn per_fragment(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Fragment(prefix.into()))
    }

    /// How a contact is called in the names of [`per_contact`](WavSink::per_contact): its id, with anything but
    /// letters, digits, `-`, `_` and `.` replaced by `_`.
    ///
    /// ```
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(Some("../a b")), ".._a_b");
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(None), "unknown");
    /// ```
    pub fn contact_in_name(id: Option<&str>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        id.map_or_else(|| "unknown".into(), |id| id.chars().take(128).map(plain).collect())
    }

    /// The size at which a file goes on in another. By default what a WAV file can hold.
    pub fn roll_over_at(mut self, bytes: u64) -> Self {
        if let State::Idle(writer) = &mut self.state {
            writer.largest = bytes.clamp(1024, LARGEST);
        }
        self
    }

    fn new(layout: Layout) -> Self {
        Self {
            state: State::Idle(Box::new(Writer::new(layout))),
            pending: Vec::new(),
            bytes: 0,
            is_closing: false,
            failure: None,
            summary: Summary::default(),
        }
    }

    fn order(&mut self, order: Order, bytes: usize) {
        self.pending.push(order);
        self.bytes += bytes;
    }

    /// Has what is pending written if it is worth it, or if `all` is to be. Ready when there is room for more, or when
    /// all is written.
    fn poll_write(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        loop {
            match &mut self.state {
                State::Working(_) if !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Working(work) => {
                    let written = ready!(Pin::new(work).poll(cx));
                    let (writer, result) = match written {
                        Ok(written) => written,
                        Err(error) => {
                            self.state = State::Lost;
                            return Poll::Ready(Err(lost().caused_by(error)));
                        }
                    };
                    self.summary = writer.summary;
                    self.state = State::Idle(writer);
                    result?;
                }
                State::Idle(_) if self.pending.is_empty() || !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Idle(_) => {
                    let orders = std::mem::take(&mut self.pending);
                    self.bytes = 0;
                    let executor = Handle::try_current().map_err(|error| {
                        Error::new(ErrorKind::Unsupported, "writing audio needs a tokio runtime").caused_by(error)
                    })?;
                    let State::Idle(mut writer) = std::mem::replace(&mut self.state, State::Lost) else { continue };
                    self.state = State::Working(executor.spawn_blocking(move || {
                        let result = writer.carry_out_all(orders);
                        (writer, result)
                    }));
                }
                State::Lost => return Poll::Ready(Err(lost())),
            }
        }
    }

    /// Has the rest written, and all files finished, whatever went wrong with what was written before.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.is_closing {
            self.is_closing = true;
            self.order(Order::Finish, 0);
        }
        loop {
            let written = ready!(self.poll_write(cx, true));
            let is_lost = matches!(self.state, State::Lost);
            self.failure = self.failure.take().or(written.err());
            if self.pending.is_empty() || is_lost {
                return Poll::Ready(self.failure.take().map_or(Ok(()), Err));
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.is_closing {
            true => Err(Error::invalid_argument("the sink is closed")),
            false => Ok(()),
        }
    }
}

impl Sink<AudioChunk> for WavSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, chunk: AudioChunk) -> Result<()> {
        self.check_open()?;
        let bytes = chunk.samples().len() * 2 + 64;
        self.order(Order::Mono(chunk), bytes);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, true)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_closed(cx)
    }
}

impl Sink<StereoChunk> for WavSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, chunk: StereoChunk) -> Result<()> {
        self.check_open()?;
        if chunk.is_real_time() {
            let message = "audio made in real time is for listening: record what is not, so that nothing is missing";
            return Err(Error::invalid_argument(message));
        }
        let bytes = chunk.samples().len() * 2 + 64;
        self.order(Order::Stereo(chunk), bytes);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, true)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_closed(cx)
    }
}

impl MediaSink<AudioChunk> for WavSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl MediaSink<StereoChunk> for WavSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl Drop for WavSink {
    fn drop(&mut self) {
        // Dropping an open file writes its header: not on the executor's thread.
        if let (State::Idle(writer), Ok(executor)) =
            (std::mem::replace(&mut self.state, State::Lost), Handle::try_current())
        {
            drop(executor.spawn_blocking(move || drop(writer)));
        }
    }
}

impl fmt::Debug for WavSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WavSink").field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// The side that writes, on a thread for blocking work.
struct Writer {
    layout: Layout,
    largest: u64,
    contact: Option<Arc<str>>,
    fragment: Option<Arc<FragmentHeader>>,
    /// How many fragments there were before.
    fragments: u64,
    /// Of a single file of one party, whose it is.
    party: Option<Party>,
    /// One, or one for each party.
    files: [Option<OpenFile>; 2],
    /// All that were made: none replaces another.
    names: HashSet<PathBuf>,
    failed: Option<Error>,
    summary: Summary,
}

struct OpenFile {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    part: PathBuf,
    channels: u16,
    bytes: u64,
    /// How many frames were written, to the files before too if it goes on from one.
    frames: u64,
}

impl Writer {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            largest: LARGEST,
            contact: None,
            fragment: None,
            fragments: 0,
            party: None,
            files: [None, None],
            names: HashSet::new(),
            failed: None,
            summary: Summary::default(),
        }
    }

    /// Carries out orders, and makes headers say what there is. After a failure no more audio is written: what follows would
    /// be in the wrong place.
    fn carry_out_all(&mut self, orders: Vec<Order>) -> Result<()> {
        for order in orders {
            let is_finish = matches!(order, Order::Finish);
            if self.failed.is_none() || is_finish {
                let result = self.carry_out(order);
                if let Err(error) = &result
                    && !is_finish
                {
                    self.failed = Some(error.clone());
                    continue;
                }
                result?;
            }
        }
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.files.iter_mut().flatten().try_for_each(OpenFile::refresh),
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Mono(chunk) => self.mono(&chunk),
            Order::Stereo(chunk) => self.stereo(&chunk),
            Order::Finish => self.finish(),
        }
    }

    fn mono(&mut self, chunk: &AudioChunk) -> Result<()> {
        let party = chunk.party();
        match self.layout {
            // As they came, without what was filled.
            Layout::Fragment(_) if chunk.is_filled() => return Ok(()),
            Layout::Fragment(_) => self.begin_fragment(chunk.fragment())?,
            _ => self.begin_contact(chunk.contact())?,
        }
        let (lane, of_party) = match self.layout {
            Layout::One(_) if self.party.replace(party).is_some_and(|before| before != party) => {
                let message = "audio of both parties for one file: make it stereo, or use WavSink::per_party";
                return Err(Error::invalid_argument(message));
            }
            Layout::One(_) => (0, None),
            _ => (usize::from(party == Party::ToCustomer), Some(party)),
        };
        let position = (!matches!(self.layout, Layout::Fragment(_))).then_some(chunk.position());
        self.write(lane, of_party, 1, position, chunk.samples())?;
        self.count(!chunk.discontinuities().is_empty());
        Ok(())
    }

    fn stereo(&mut self, chunk: &StereoChunk) -> Result<()> {
        self.begin_contact(chunk.contact())?;
        match self.layout {
            Layout::Fragment(_) => {
                return Err(Error::invalid_argument(
                    "stereo audio is of no one fragment: record it before it is stereo",
                ));
            }
            Layout::Party(_) => {
                for (lane, party) in Party::ALL.into_iter().enumerate() {
                    let samples: Vec<i16> = chunk.samples().iter().skip(lane).step_by(2).copied().collect();
                    self.write(lane, Some(party), 1, Some(chunk.position()), &samples)?;
                }
            }
            Layout::One(_) | Layout::Contact(_) => self.write(0, None, 2, Some(chunk.position()), chunk.samples())?,
        }
        self.count(chunk.has_gap());
        Ok(())
    }

    fn count(&mut self, has_gap: bool) {
        self.summary.items += 1;
        self.summary.gaps += u64::from(has_gap);
    }

    fn begin_contact(&mut self, contact: Option<&Arc<str>>) -> Result<()> {
        if self.contact.is_some() && self.contact.as_ref() != contact {
            if !matches!(self.layout, Layout::Contact(_)) {
                let id = contact.map_or("one without an id", |id| &**id);
                return Err(Error::invalid_argument(format!(
                    "another contact begins, {id}: choose one with `contact`, or use WavSink::per_contact"
                )));
            }
            self.finish_files()?;
        }
        self.contact = contact.cloned();
        Ok(())
    }

    fn begin_fragment(&mut self, fragment: &Arc<FragmentHeader>) -> Result<()> {
        if self.fragment.as_ref().is_none_or(|before| !Arc::ptr_eq(before, fragment)) {
            self.finish_files()?;
            self.fragments += u64::from(self.fragment.is_some());
            self.fragment = Some(Arc::clone(fragment));
        }
        Ok(())
    }

    /// Writes interleaved samples that begin at this frame, or behind what there is.
    fn write(
        &mut self,
        lane: usize,
        party: Option<Party>,
        channels: u16,
        position: Option<u64>,
        samples: &[i16],
    ) -> Result<()> {
        let written = self.files.get(lane).and_then(Option::as_ref).map_or(0, |file| file.frames);
        let position = position.unwrap_or(written);
        let missing = position.saturating_sub(written).saturating_mul(u64::from(channels));
        let again = usize::try_from(written.saturating_sub(position) * u64::from(channels)).unwrap_or(usize::MAX);
        self.append_silence(lane, party, channels, missing)?;
        self.append(lane, party, channels, samples.get(again..).unwrap_or_default())
    }

    fn append_silence(&mut self, lane: usize, party: Option<Party>, channels: u16, samples: u64) -> Result<()> {
        let silence = [0; 4096];
        let mut left = samples;
        while left > 0 {
            let length = left.min(silence.len() as u64);
            self.append(lane, party, channels, silence.get(..length as usize).unwrap_or_default())?;
            left -= length;
        }
        Ok(())
    }

    fn append(&mut self, lane: usize, party: Option<Party>, channels: u16, mut samples: &[i16]) -> Result<()> {
        while !samples.is_empty() {
            let Some(slot) = self.files.get_mut(lane) else { return Ok(()) };
            if let Some(file) = slot {
                // In whole frames, whether they have two bytes or four.
                let room = usize::try_from(self.largest.saturating_sub(file.bytes) / 4 * 2).unwrap_or(usize::MAX);
                let (now, later) = samples.split_at(samples.len().min(room));
                file.append(now)?;
                samples = later;
            }
            if !samples.is_empty() {
                let full = slot.take();
                let frames = full.as_ref().map_or(0, |file| file.frames);
                full.map_or(Ok(()), |file| self.close_file(file))?;
                let file = OpenFile::create(self.free_name(party), channels, frames)?;
                self.names.insert(file.path.clone());
                if let Some(slot) = self.files.get_mut(lane) {
                    *slot = Some(file);
                }
            }
        }
        Ok(())
    }

    /// What the next file is called.
    fn free_name(&self, party: Option<Party>) -> PathBuf {
        let (prefix, middle) = match &self.layout {
            Layout::One(path) => {
                let stem = path.with_extension("");
                let extension = path.extension().unwrap_or_else(|| "wav".as_ref()).to_string_lossy().into_owned();
                return self.unused(path.clone(), &stem, &extension);
            }
            Layout::Party(prefix) => (prefix, None),
            Layout::Contact(prefix) => (prefix, Some(WavSink::contact_in_name(self.contact.as_deref()))),
            Layout::Fragment(prefix) => {
                let number = self.fragment.as_ref().and_then(|fragment| fragment.number());
                (prefix, Some(number.map_or_else(|| self.fragments.to_string(), ToString::to_string)))
            }
        };
        let mut stem = prefix.clone().into_os_string();
        for part in middle.into_iter().chain(party.map(|party| party.track_name().to_owned())) {
            stem.push("-");
            stem.push(part);
        }
        let mut name = stem.clone();
        name.push(".wav");
        self.unused(name.into(), &PathBuf::from(stem), "wav")
    }

    /// This path, or one with a number if there was one of this name before.
    fn unused(&self, path: PathBuf, stem: &Path, extension: &str) -> PathBuf {
        let numbered = (2u64..).map(|number| {
            let mut name = stem.as_os_str().to_owned();
            name.push(format!("-{number}.{extension}"));
            PathBuf::from(name)
        });
        std::iter::once(path).chain(numbered).find(|path| !self.names.contains(path)).unwrap_or_default()
    }

    fn close_file(&mut self, file: OpenFile) -> Result<()> {
        let OpenFile { writer, path, part, bytes, .. } = file;
        writer.finalize().map_err(|error| failed(&part, error))?;
        std::fs::rename(&part, &path).map_err(|error| Error::of_file("renaming to", &path, error))?;
        self.summary.files += 1;
        self.summary.bytes += bytes;
        Ok(())
    }

    /// Finishes what is open. Both parties of a contact get files of the same length.
    fn finish_files(&mut self) -> Result<()> {
        if !matches!(self.layout, Layout::Fragment(_)) {
            let ends = self.files.each_ref().map(|file| file.as_ref().map(|file| file.frames));
            if let [Some(left), Some(right)] = ends {
                for (lane, party) in Party::ALL.into_iter().enumerate() {
                    let frames = if lane == 0 { left } else { right };
                    self.append_silence(lane, Some(party), 1, left.max(right) - frames)?;
                }
            }
        }
        let open = self.files.each_mut().map(Option::take);
        open.into_iter().flatten().try_for_each(|file| self.close_file(file))
    }

    fn finish(&mut self) -> Result<()> {
        // What could not be written is not whole, and keeps its temporary name.
        if self.failed.as_ref().is_some_and(|error| error.kind() == ErrorKind::Io) {
            return Ok(());
        }
        self.finish_files()?;
        match self.summary.files {
            0 if self.failed.is_none() => {
                Err(Error::new(ErrorKind::NotFound, "there was no audio: no file was written"))
            }
            _ => Ok(()),
        }
    }
}

impl OpenFile {
    fn create(path: PathBuf, channels: u16, frames: u64) -> Result<Self> {
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut file = File::create(&part);
        if file.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder).map_err(|error| Error::of_file("making the folder", folder, error))?;
            file = File::create(&part);
        }
        let file = file.map_err(|error| Error::of_file("writing", &part, error))?;
        let spec =
            WavSpec { channels, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let writer =
            WavWriter::new(BufWriter::with_capacity(BATCH, file), spec).map_err(|error| failed(&part, error))?;
        Ok(Self { writer, path, part, channels, bytes: HEADER, frames })
    }

    fn append(&mut self, samples: &[i16]) -> Result<()> {
        let mut writer = self.writer.get_i16_writer(samples.len() as u32);
        samples.iter().for_each(|sample| writer.write_sample(*sample));
        writer.flush().map_err(|error| failed(&self.part, error))?;
        self.bytes += samples.len() as u64 * 2;
        self.frames += samples.len() as u64 / u64::from(self.channels);
        Ok(())
    }

    /// Makes the header say how much there is.
    fn refresh(&mut self) -> Result<()> {
        self.writer.flush().map_err(|error| failed(&self.part, error))
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "the thread that writes audio is lost").retryable(false)
}

fn failed(path: &Path, error: hound::Error) -> Error {
    match error {
        hound::Error::IoError(error) => Error::of_file("writing", path, error),
        other => Error::new(ErrorKind::Unsupported, format!("writing {} failed", path.display())).caused_by(other),
    }
}
