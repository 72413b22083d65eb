//! Writes the files of a [`WavSink`], on a thread for blocking work.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::{BATCH, Chunk, Layout, WavFile, WavSink};
use crate::audio::{AudioChunk, Party, SAMPLE_RATE, StereoChunk};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::FragmentHeader;
use crate::sink::background::Worker;
use crate::sink::files::create_part;
use crate::summary::Summary;

/// Bytes of a WAV header.
const HEADER: u64 = 44;

/// Largest file: WAV stores sizes in 32 bits.
pub(super) const LARGEST: u64 = u32::MAX as u64 - (64 << 10);

/// The files being written, and the totals so far.
pub(super) struct Writer {
    layout: Layout,
    pub(super) largest: u64,
    pub(super) keeps_existing: bool,
    contact: Option<Arc<str>>,
    fragment: Option<Arc<FragmentHeader>>,
    /// The number of fragments before this one.
    fragments: u64,
    /// The party of a single mono file.
    party: Option<Party>,
    /// One file, or one for each party.
    files: [Option<OpenFile>; 2],
    /// The names used so far, so that no file replaces another.
    names: HashSet<PathBuf>,
    pub(super) summary: Summary,
    /// The files completed since the sink has last taken them.
    pub(super) complete: Vec<WavFile>,
}

struct OpenFile {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    part: PathBuf,
    party: Option<Party>,
    channels: u16,
    bytes: u64,
    /// Frames written so far, including those of the files that this one continues.
    frames: u64,
}

impl Writer {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            largest: LARGEST,
            keeps_existing: false,
            contact: None,
            fragment: None,
            fragments: 0,
            party: None,
            files: [None, None],
            names: HashSet::new(),
            summary: Summary::default(),
            complete: Vec::new(),
        }
    }

    /// Adds what is new since the last report.
    pub(super) fn report(&mut self, summary: &mut Summary, files: &mut Vec<WavFile>) {
        *summary = self.summary;
        files.append(&mut self.complete);
    }

    fn mono(&mut self, chunk: &AudioChunk) -> Result<()> {
        let party = chunk.party();
        match self.layout {
            // A file of a fragment has only the audio received in it.
            Layout::Fragment(_) if chunk.is_filled() => return Ok(()),
            Layout::Fragment(_) => {
                self.begin_fragment(chunk.fragment())?;
                self.contact = chunk.contact().cloned();
            }
            _ => self.begin_contact(chunk.contact())?,
        }
        let (lane, of_party) = match self.layout {
            Layout::One(_) if self.party.replace(party).is_some_and(|before| before != party) => {
                let message =
                    "audio of both parties cannot go to one mono file: use `stereo()` or `WavSink::per_party`";
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
                    "WavSink::per_fragment takes no stereo audio: record the audio before `stereo()`",
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
                    "another contact begins, {id}: choose one with `contact`, or use `WavSink::per_contact`"
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

    /// Writes interleaved samples that begin at frame `position`, or after the last frame.
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
                // A multiple of 4 bytes is a whole number of frames, mono or stereo.
                let room = usize::try_from(self.largest.saturating_sub(file.bytes) / 4 * 2).unwrap_or(usize::MAX);
                let (now, later) = samples.split_at(samples.len().min(room));
                file.append(now)?;
                samples = later;
            }
            if !samples.is_empty() {
                let full = slot.take();
                let frames = full.as_ref().map_or(0, |file| file.frames);
                full.map_or(Ok(()), |file| self.close_file(file))?;
                let file = OpenFile::create(self.free_name(party), party, channels, frames)?;
                self.names.insert(file.path.clone());
                if let Some(slot) = self.files.get_mut(lane) {
                    *slot = Some(file);
                }
            }
        }
        Ok(())
    }

    /// Returns the name of the next file.
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

    /// Returns `path`, or a numbered variant if this sink has used the name before, or the file is to be kept.
    fn unused(&self, path: PathBuf, stem: &Path, extension: &str) -> PathBuf {
        let numbered = (2u64..).map(|number| {
            let mut name = stem.as_os_str().to_owned();
            name.push(format!("-{number}.{extension}"));
            PathBuf::from(name)
        });
        let is_taken = |path: &PathBuf| self.names.contains(path) || self.keeps_existing && path.exists();
        std::iter::once(path).chain(numbered).find(|path| !is_taken(path)).unwrap_or_default()
    }

    fn close_file(&mut self, file: OpenFile) -> Result<()> {
        let OpenFile { writer, path, part, party, bytes, .. } = file;
        writer.finalize().map_err(|error| failed(&part, error))?;
        std::fs::rename(&part, &path).map_err(|error| Error::of_file("renaming to", &path, error))?;
        self.summary.files += 1;
        self.summary.bytes += bytes;
        self.complete.push(WavFile { path, contact: self.contact.clone(), party });
        Ok(())
    }

    /// Finishes the open files. Silence makes the files of both parties equally long.
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
}

impl Worker for Writer {
    type Item = Chunk;

    fn write(&mut self, chunk: Chunk) -> Result<()> {
        match chunk {
            Chunk::Mono(chunk) => self.mono(&chunk),
            Chunk::Stereo(chunk) => self.stereo(&chunk),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.files.iter_mut().flatten().try_for_each(OpenFile::refresh)
    }

    fn finish(&mut self, failed: Option<&Error>) -> Result<()> {
        // A file that could not be written completely keeps its temporary name.
        if failed.is_some_and(|error| error.kind() == ErrorKind::Io) {
            return Ok(());
        }
        self.finish_files()?;
        match self.summary.files {
            0 if failed.is_none() => {
                Err(Error::new(ErrorKind::NotFound, "the stream had no audio: no file was written"))
            }
            _ => Ok(()),
        }
    }
}

impl OpenFile {
    fn create(path: PathBuf, party: Option<Party>, channels: u16, frames: u64) -> Result<Self> {
        let (file, part) = create_part(&path)?;
        let spec =
            WavSpec { channels, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let writer =
            WavWriter::new(BufWriter::with_capacity(BATCH, file), spec).map_err(|error| failed(&part, error))?;
        Ok(Self { writer, path, part, party, channels, bytes: HEADER, frames })
    }

    fn append(&mut self, samples: &[i16]) -> Result<()> {
        let mut writer = self.writer.get_i16_writer(samples.len() as u32);
        samples.iter().for_each(|sample| writer.write_sample(*sample));
        writer.flush().map_err(|error| failed(&self.part, error))?;
        self.bytes += samples.len() as u64 * 2;
        self.frames += samples.len() as u64 / u64::from(self.channels);
        Ok(())
    }

    /// Writes the current length into the header.
    fn refresh(&mut self) -> Result<()> {
        self.writer.flush().map_err(|error| failed(&self.part, error))
    }
}

fn failed(path: &Path, error: hound::Error) -> Error {
    match error {
        hound::Error::IoError(error) => Error::of_file("writing", path, error),
        other => Error::new(ErrorKind::Unsupported, format!("writing {} failed", path.display())).caused_by(other),
    }
}
