//! [`Mp4`]: MP4 and QuickTime files (ISO/IEC 14496-12, -14 and -15).
//!
//! ```text
//! while it grows   ftyp free moov moof mdat moof mdat …         plays after every fragment
//! finalised        ftyp mdat[ moov moof mdat moof mdat … ] moov one large mdat, and an index at the end
//! ```
//!
//! To finalise a file, the box `free` at its start becomes the header of an `mdat` around everything that was written, and a
//! `moov` with sample tables is appended. No media is moved.

mod boxes;
mod entry;
mod movie;
#[cfg(feature = "local")]
pub(crate) mod segment;
mod table;
mod track;
mod values;

use mp4_atom::{FourCC, Ftyp, Mfhd, Moof};

use super::{Finish, Muxer, Patch, Placed};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Track, TrackKind};
use boxes::{encode, header, long_header};
use track::{Mp4Track, Run};

#[cfg(feature = "local")]
pub(crate) use track::ticks;

/// The format of a file of boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Brand {
    #[default]
    Mp4,
    /// QuickTime, which also holds PCM.
    Mov,
}

impl Brand {
    fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "MP4",
            Self::Mov => "MOV",
        }
    }
}

/// The options of an MP4 file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mp4Options {
    pub(crate) brand: Brand,
    /// The file stays fragmented, without sample tables.
    pub(crate) is_fragmented: bool,
}

/// Writes one MP4 file.
pub(crate) struct Mp4 {
    options: Mp4Options,
    tracks: Vec<Mp4Track>,
    /// Seconds since 1904, when MP4's time begins.
    created: u64,
    /// The offset of the box that becomes the header of the `mdat`.
    placeholder: u64,
    /// The bytes written so far.
    length: u64,
    fragments: u32,
}

/// The time scale of the whole file. That of video tracks too.
const TIMESCALE: u32 = 90_000;

/// The bytes of the box that becomes the header of the `mdat`.
const PLACEHOLDER: u64 = 16;

impl Muxer for Mp4 {
    type Options = Mp4Options;

    fn begin(options: &Mp4Options, first: &Placed, out: &mut Vec<u8>) -> Result<Self> {
        let declared = first.header.tracks();
        let tracks: Vec<_> = (1..)
            .zip(declared.iter())
            .map(|(id, track)| Mp4Track::new(id, track, options.brand, first))
            .collect::<Result<_>>()?;
        if tracks.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the fragment declares no tracks, so it cannot begin a file",
            ));
        }
        let created = first.header.producer_time().map_or(0, |time| since_1904(time.as_millis()));
        let mut this = Self { options: options.clone(), tracks, created, placeholder: 0, length: 0, fragments: 0 };
        let mut start = Vec::new();
        encode(&this.file_type(), &mut start)?;
        if !options.is_fragmented {
            this.placeholder = start.len() as u64;
            start.extend_from_slice(&header(b"free", PLACEHOLDER - 8));
            start.extend_from_slice(&[0; 8]);
        }
        start.extend(movie::fragmented(&this.tracks, created)?.concat());
        this.length = start.len() as u64;
        out.append(&mut start);
        Ok(this)
    }

    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()> {
        if let Some(sample) = placed.samples.iter().find(|sample| self.track(sample.packet.track_number()).is_none()) {
            let message = "a packet belongs to a track that the document does not declare";
            return Err(super::codec::located(Error::malformed(message), &sample.packet));
        }
        let mut runs = Vec::new();
        for track in &self.tracks {
            runs.push(track.run(placed)?);
        }
        if runs.iter().all(|run| run.entries.is_empty()) {
            return Ok(());
        }
        let media: u64 = runs.iter().map(Run::bytes).sum();
        let mdat = header(b"mdat", media);
        // The offsets in a `moof` count from its start, and they do not change its size.
        let mut moof = Vec::new();
        let mut size = 0;
        for _ in 0..2 {
            moof.clear();
            encode(&self.moof(&runs, size + mdat.len() as u64)?, &mut moof)?;
            size = moof.len() as u64;
        }
        let begins = self.length + size + mdat.len() as u64;
        let appended = out.len();
        out.reserve(usize::try_from(size + media).unwrap_or(0) + mdat.len());
        out.extend_from_slice(&moof);
        out.extend_from_slice(&mdat);
        let mut offset = begins;
        for (track, run) in self.tracks.iter_mut().zip(&runs) {
            track.advance(run, offset, !self.options.is_fragmented);
            run.payloads.iter().for_each(|payload| out.extend_from_slice(payload));
            offset += run.bytes();
        }
        self.fragments += 1;
        self.length += (out.len() - appended) as u64;
        Ok(())
    }

    fn finish(self) -> Finish {
        if self.options.is_fragmented {
            return Finish::default();
        }
        let content = self.length - self.placeholder - PLACEHOLDER;
        let patch = Patch { at: self.placeholder, bytes: long_header(b"mdat", content).to_vec() };
        match movie::complete(self.tracks, self.created) {
            Ok(moov) => Finish::new(moov, vec![patch]),
            // Without tables the file stays fragmented, and plays.
            Err(_) => Finish::default(),
        }
    }
}

impl Mp4 {
    fn track(&self, number: u64) -> Option<&Mp4Track> {
        self.tracks.iter().find(|track| track.number == number)
    }

    fn file_type(&self) -> Ftyp {
        let brands: &[&[u8; 4]] = match self.options.brand {
            Brand::Mp4 => &[b"isom", b"iso6", b"mp41", b"mp42"],
            Brand::Mov => &[b"qt  "],
        };
        let brands: Vec<FourCC> = brands.iter().map(|brand| FourCC::new(brand)).collect();
        let major_brand = brands.first().copied().unwrap_or(FourCC::new(b"isom"));
        Ftyp { major_brand, minor_version: 0x200, compatible_brands: brands }
    }

    /// Returns the `moof` for media that begins `before` bytes after its start.
    fn moof(&self, runs: &[Run], before: u64) -> Result<Moof> {
        let mut offset = before;
        let mut traf = Vec::new();
        for (track, run) in self.tracks.iter().zip(runs) {
            if !run.entries.is_empty() {
                let too_large = |_| Error::limit("a fragment has more media than an MP4 fragment can hold: 2 GiB");
                traf.push(track.fragment(run, i32::try_from(offset).map_err(too_large)?));
            }
            offset += run.bytes();
        }
        Ok(Moof { mfhd: Mfhd { sequence_number: self.fragments + 1 }, traf })
    }
}

/// Converts milliseconds since 1970 to seconds since 1904.
fn since_1904(millis: i64) -> u64 {
    const DIFFERENCE: i64 = 2_082_844_800;
    u64::try_from(millis.div_euclid(1000).saturating_add(DIFFERENCE)).unwrap_or(0)
}

/// Returns the error for a track that has no place in the container.
fn has_no_place(track: &Track, brand: Brand, what: &str, instead: &str) -> Error {
    let kind = match track.kind() {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Other(_) => track.kind().name(),
    };
    let message = format!("{what} of the {kind} track has no place in {}; record it as {instead}", brand.name());
    Error::new(ErrorKind::Unsupported, message).on_track(track.number())
}
