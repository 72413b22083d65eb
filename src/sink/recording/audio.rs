//! [`AudioSink`]: one audio track to ADTS or WAV files.

use std::path::PathBuf;

use super::{Container, Format, RecordingSink};
use crate::mux::audio_file::{AudioContainer, AudioFile, AudioOptions};

/// A sink that records one audio track as ADTS or WAV: see [`RecordingSink`].
///
/// | name | format | codecs | time |
/// |---|---|---|---|
/// | `.aac`, `.adts` | ADTS: AAC frames with a header each | AAC | the format has none: gaps close |
/// | `.wav`, `.wave` | WAV | PCM, G.711 A-law and mu-law | silence fills gaps |
///
/// With another name, the first fragment is an error. MP4, MOV and MKV have a place for all of these codecs, and for Opus.
/// For both parties of Amazon Connect in one file, use [`WavSink`](super::super::WavSink).
///
/// In a WAV file each sample is at its time. Blocks that begin at most 30 ms from the end of the audio before them are
/// appended, so jitter makes no clicks. Later blocks get silence before them. Earlier blocks are trimmed: the audio that
/// came first is kept. Where the audio track is silent while other tracks go on, the file has silence too.
///
/// A WAV file has at most 4 GiB. The sink begins a new one before.
///
/// While a WAV file grows, its sizes are unknown, which FFmpeg and SoX read. They are filled in on close.
///
/// # Errors
/// Those of [`RecordingSink`], and [`Malformed`](crate::ErrorKind::Malformed) if the blocks of one fragment are so far apart
/// that the silence between them has more than 64 MiB.
///
/// # Memory
/// Two fragments. A long silence between fragments takes none.
///
/// ```
/// use kinesis_video::{AudioSink, FragmentStream, RecordExt};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let summary = FragmentStream::new(body).record(AudioSink::create("front-door.aac")).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
pub type AudioSink = RecordingSink<AudioFormat>;

/// The format of an [`AudioSink`]: ADTS or WAV.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AudioFormat;

impl Format for AudioFormat {}

impl Container for AudioFormat {
    type Muxer = AudioFile;
}

impl AudioSink {
    /// Creates a sink that writes ADTS if the path ends in `.aac`, and WAV if it ends in `.wav`.
    ///
    /// Nothing is written before the first fragment.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let container = match extension.as_deref() {
            Some("aac" | "adts") => Some(AudioContainer::Adts),
            Some("wav" | "wave") => Some(AudioContainer::Wav),
            _ => None,
        };
        Self::with(path, AudioOptions { container, track: None })
    }

    /// Records the track with this number. Default: the first audio track of each file.
    pub fn track(mut self, number: u64) -> Self {
        self.change(|recorder| recorder.options.track = Some(number));
        self
    }
}
