//! [`Recorder`]: writes the files of a recording, on a thread for blocking work.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::RecordedFile;
use super::names::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentHeader, FragmentNumber};
use crate::mux::{Fill, Gaps, Media, MuxedFile, Muxer};
use crate::sink::background::Worker;
use crate::sink::files::{KEPT_BUFFER, create_part, is_gap};
use crate::summary::Summary;

/// The file that is being written, and when to begin the next one.
pub(super) struct Recorder<M: Muxer> {
    pub(super) names: Names,
    pub(super) options: M::Options,
    pub(super) every: Option<Duration>,
    pub(super) is_aligned: bool,
    pub(super) max_bytes: Option<u64>,
    pub(super) gaps: Gaps,
    open: Option<OpenFile<M>>,
    /// The bytes of the current fragment.
    buffer: Vec<u8>,
    summary: Summary,
    /// The files completed since the last report.
    complete: Vec<RecordedFile>,
}

struct OpenFile<M> {
    file: File,
    part: PathBuf,
    muxed: MuxedFile<M>,
    recorded: RecordedFile,
}

impl<M: Muxer> Recorder<M> {
    pub(super) fn new(names: Names, options: M::Options) -> Self {
        Self {
            names,
            options,
            every: None,
            is_aligned: false,
            max_bytes: None,
            gaps: Gaps::Keep,
            open: None,
            buffer: Vec::new(),
            summary: Summary::default(),
            complete: Vec::new(),
        }
    }

    /// Adds what is new since the last report.
    pub(super) fn report(&mut self, summary: &mut Summary, files: &mut Vec<RecordedFile>) {
        *summary = self.summary;
        files.append(&mut self.complete);
    }

    /// Returns true if the media of a fragment begins a new file.
    fn begins_file(&self, open: &OpenFile<M>, media: &Media, bytes: u64) -> bool {
        if open.muxed.timeline.split_before(media).is_some() {
            return true;
        }
        let limit = self.max_bytes.unwrap_or(u64::MAX).min(open.muxed.muxer.max_bytes());
        let at = i64::try_from(open.muxed.timeline.elapsed(media).as_nanos()).unwrap_or(i64::MAX);
        let bytes = bytes.saturating_add(open.muxed.muxer.fill_before(at).count);
        if open.recorded.bytes.saturating_add(bytes) > limit {
            return true;
        }
        let Some(every) = self.every else { return false };
        let clock = open.recorded.start.zip(media.header().producer_time());
        match clock.filter(|_| self.is_aligned) {
            Some((start, now)) => {
                let period = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1);
                start.as_nanos().div_euclid(period) != now.as_nanos().div_euclid(period)
            }
            None => open.muxed.timeline.elapsed(media) >= every,
        }
    }

    /// Writes the media of a fragment into the open file, or into a new one.
    fn record(&mut self, media: Media, fragment: &Fragment) -> Result<()> {
        let bytes = fragment.raw().len() as u64;
        if self.open.as_ref().is_some_and(|open| self.begins_file(open, &media, bytes)) {
            self.finish_file()?;
        }
        let is_gap =
            is_gap(fragment) || self.open.as_ref().is_some_and(|open| open.muxed.timeline.gap_before(&media).is_some());
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        let open = match &mut self.open {
            Some(open) => {
                let fill = open.muxed.push(media, fragment, &mut self.buffer)?;
                self.summary.bytes += open.fill(fill)?;
                open
            }
            None => {
                let muxed = MuxedFile::begin(&self.options, self.gaps, media, fragment, &mut self.buffer)?;
                let path = self.names.next(fragment.header());
                self.open.insert(OpenFile::create(path, fragment.header(), muxed)?)
            }
        };
        open.append(&self.buffer)?;
        open.recorded.fragments += 1;
        open.recorded.gaps += u64::from(is_gap);
        open.recorded.duration = open.muxed.timeline.duration();
        self.summary.items += 1;
        self.summary.gaps += u64::from(is_gap);
        self.summary.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Completes the open file and gives it its name.
    fn finish_file(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let before = open.recorded.bytes;
        let finish = open.muxed.muxer.finish();
        let written = (|| {
            for piece in finish.pieces {
                open.file.write_all(&piece)?;
                open.recorded.bytes += piece.len() as u64;
            }
            for patch in finish.patches {
                open.file.seek(SeekFrom::Start(patch.at))?;
                open.file.write_all(&patch.bytes)?;
            }
            Ok(())
        })();
        if let Err(error) = written {
            // Without the incomplete index, the file plays as it did while it grew.
            let _ = open.file.set_len(before);
            return Err(Error::of_file("writing", &open.part, error));
        }
        let path = &open.recorded.path;
        std::fs::rename(&open.part, path).map_err(|error| Error::of_file("renaming to", path, error))?;
        self.summary.bytes += open.recorded.bytes - before;
        self.summary.files += 1;
        self.complete.push(open.recorded);
        Ok(())
    }
}

impl<M: Muxer> Worker for Recorder<M> {
    type Item = Fragment;

    fn write(&mut self, fragment: Fragment) -> Result<()> {
        match Media::of(&fragment) {
            Some(media) => {
                let number = fragment.number().map(FragmentNumber::as_str);
                self.record(media, &fragment).map_err(|error| error.in_fragment(number))
            }
            // A fragment without media adds nothing to a file.
            None => {
                self.summary.items += 1;
                self.summary.gaps += u64::from(is_gap(&fragment));
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, failed: Option<&Error>) -> Result<()> {
        // A file that could not be written completely keeps its temporary name.
        if failed.is_some_and(|error| error.kind() == ErrorKind::Io) {
            return Ok(());
        }
        self.finish_file()
    }
}

impl<M> OpenFile<M> {
    fn create(path: PathBuf, first: &FragmentHeader, muxed: MuxedFile<M>) -> Result<Self> {
        let (file, part) = create_part(&path)?;
        let recorded = RecordedFile {
            path,
            start: first.producer_time(),
            duration: Duration::ZERO,
            fragments: 0,
            bytes: 0,
            gaps: 0,
        };
        Ok(Self { file, part, muxed, recorded })
    }

    /// Appends equal bytes, all or none. Returns their number.
    fn fill(&mut self, fill: Fill) -> Result<u64> {
        if fill.count > 0
            && let Err(error) = std::io::copy(&mut std::io::repeat(fill.byte).take(fill.count), &mut self.file)
        {
            let _ = self.file.set_len(self.recorded.bytes);
            return Err(Error::of_file("writing", &self.part, error));
        }
        self.recorded.bytes += fill.count;
        Ok(fill.count)
    }

    /// Appends bytes, all or none.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part of a fragment would be in the way of what follows.
            let _ = self.file.set_len(self.recorded.bytes);
            return Err(Error::of_file("writing", &self.part, error));
        }
        self.recorded.bytes += bytes.len() as u64;
        Ok(())
    }
}
