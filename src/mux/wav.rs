//! [`Wav`]: PCM and G.711 as WAV.

use super::audio_track::AudioTrack;
use super::codec::audio::{AudioCodec, AudioConfig};
use super::codec::located;
use super::{Fill, Finish, Muxer, Patch, Placed};
use crate::error::{Error, ErrorKind, Result};

/// Writes the samples of one track, each at its time.
///
/// Samples that are at most [`JITTER_MILLIS`] away from the end of the samples before them follow those. Otherwise silence
/// fills the hole before them, or they are trimmed: what came first is kept.
#[derive(Debug)]
pub(crate) struct Wav {
    track: AudioTrack,
    /// The bytes of one sample of each channel.
    frame: u32,
    /// The samples of each channel so far.
    frames: u64,
    /// The bytes before the samples.
    header: u64,
    /// The offset of the number of samples, if the format has one.
    fact: Option<u64>,
}

/// The largest difference between the time of a block and the end of the audio before it that counts as jitter.
const JITTER_MILLIS: i64 = 30;

/// The end of a hole is left to the audio after it, which tells exactly when it begins. The rest of a long silence comes first.
const HOLE_MILLIS: i64 = 5_000;

/// The most silence inside a fragment, in bytes. It is in memory.
const MOST_SILENCE: u64 = 64 << 20;

/// The largest file. WAV stores sizes in 32 bits; a fragment may have silence inside that nobody has counted before.
const LARGEST: u64 = u32::MAX as u64 - MOST_SILENCE - (64 << 10);

/// The format tags of WAVEFORMATEX.
const PCM: u16 = 1;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xFFFE;

/// The end of the identifier of an extended format, after its format tag.
const EXTENSIBLE_ID: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

impl Muxer for Wav {
    /// The number of the track. Default: the first audio track.
    type Options = Option<u64>;

    fn begin(track: &Option<u64>, first: &Placed, out: &mut Vec<u8>) -> Result<Self> {
        let track = AudioTrack::of(first, *track)?;
        let start = out.len();
        let (frame, fact) = write_header(&track.config, out).map_err(|error| error.on_track(track.number))?;
        Ok(Self { track, frame, frames: 0, header: (out.len() - start) as u64, fact })
    }

    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let mut frames = self.frames + self.missing_before(placed.start());
        let mut silence = 0;
        for sample in placed.of_track(self.track.number) {
            let payload = self.track.config.whole(sample.packet.payload());
            let late = self.frames_in(sample.pts) - i64::try_from(frames).unwrap_or(i64::MAX);
            let mut skipped = 0;
            if late > self.jitter() {
                let missing = late.unsigned_abs() * u64::from(self.frame);
                silence += missing;
                if silence > MOST_SILENCE {
                    out.truncate(start);
                    let message = format!("the times of the audio leave {} s out", self.seconds(late.unsigned_abs()));
                    return Err(located(Error::malformed(message), &sample.packet));
                }
                let length = out.len() + usize::try_from(missing).unwrap_or(usize::MAX);
                out.resize(length, self.track.config.silence());
                frames += late.unsigned_abs();
            } else if late < -self.jitter() {
                skipped = late.unsigned_abs();
            }
            let skipped = usize::try_from(skipped.saturating_mul(self.frame.into())).unwrap_or(usize::MAX);
            let samples = payload.get(skipped..).unwrap_or_default();
            self.track.config.append_for_wav(samples, out);
            frames += samples.len() as u64 / u64::from(self.frame);
        }
        self.frames = frames;
        Ok(())
    }

    fn finish(self) -> Finish {
        let data = self.frames * u64::from(self.frame);
        // Chunks begin at even offsets.
        let padding = data % 2;
        let patch = |at: u64, value: u64| {
            // A size that 32 bits cannot hold stays unknown.
            Patch { at, bytes: u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes().to_vec() }
        };
        let mut patches = vec![patch(4, self.header - 8 + data + padding), patch(self.header - 4, data)];
        patches.extend(self.fact.map(|at| patch(at, self.frames)));
        Finish::new([vec![0; padding as usize]], patches)
    }

    fn fill_before(&self, time: i64) -> Fill {
        Fill { byte: self.track.config.silence(), count: self.missing_before(time) * u64::from(self.frame) }
    }

    fn max_bytes(&self) -> u64 {
        LARGEST
    }
}

impl Wav {
    /// Returns the samples of silence that come before media that begins at a time, but for those right before it.
    fn missing_before(&self, time: i64) -> u64 {
        let until = u64::try_from(self.frames_in(time.saturating_sub(HOLE_MILLIS * 1_000_000))).unwrap_or(0);
        until.saturating_sub(self.frames)
    }

    /// Converts nanoseconds to samples of each channel, rounded to the nearest.
    fn frames_in(&self, nanos: i64) -> i64 {
        let frames = i128::from(nanos) * i128::from(self.track.config.sample_rate()) + 500_000_000;
        i64::try_from(frames.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
    }

    fn jitter(&self) -> i64 {
        JITTER_MILLIS * i64::from(self.track.config.sample_rate()) / 1000
    }

    fn seconds(&self, frames: u64) -> u64 {
        frames / u64::from(self.track.config.sample_rate())
    }
}

/// Writes the header of a file whose size is not known. Returns the bytes of one sample of each channel, and the offset of
/// the number of samples, if there is one.
///
/// The sizes are all ones: readers then read to the end of the file.
fn write_header(config: &AudioConfig, out: &mut Vec<u8>) -> Result<(u32, Option<u64>)> {
    let (tag, bits) = match config.codec() {
        AudioCodec::Pcm { bits, .. } => (PCM, bits),
        AudioCodec::Alaw => (ALAW, 8),
        AudioCodec::Mulaw => (MULAW, 8),
        AudioCodec::Aac { .. } => return Err(no_place("AAC", "ADTS (.aac), MP4, MOV and MKV")),
        AudioCodec::Opus => return Err(no_place("Opus", "MP4, MOV and MKV")),
    };
    let (channels, rate) = (config.channels(), config.sample_rate());
    let frame = channels
        .checked_mul(bits / 8)
        .ok_or_else(|| no_place(&format!("{channels} channels of {bits} bits"), "MOV and MKV"))?;
    let is_extended = tag == PCM && (bits > 16 || channels > 2);
    let mut format = Vec::new();
    format.extend_from_slice(&if is_extended { EXTENSIBLE } else { tag }.to_le_bytes());
    format.extend_from_slice(&channels.to_le_bytes());
    format.extend_from_slice(&rate.to_le_bytes());
    format.extend_from_slice(&rate.saturating_mul(frame.into()).to_le_bytes());
    format.extend_from_slice(&frame.to_le_bytes());
    format.extend_from_slice(&bits.to_le_bytes());
    if is_extended {
        format.extend_from_slice(&22u16.to_le_bytes());
        format.extend_from_slice(&bits.to_le_bytes());
        // The speakers of the channels are not known.
        format.extend_from_slice(&0u32.to_le_bytes());
        format.extend_from_slice(&tag.to_le_bytes());
        format.extend_from_slice(&EXTENSIBLE_ID);
    } else if tag != PCM {
        format.extend_from_slice(&0u16.to_le_bytes());
    }
    const UNKNOWN: [u8; 4] = u32::MAX.to_le_bytes();
    let start = out.len();
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&UNKNOWN);
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&(format.len() as u32).to_le_bytes());
    out.extend_from_slice(&format);
    let fact = (is_extended || tag != PCM).then(|| {
        out.extend_from_slice(b"fact\x04\0\0\0");
        out.extend_from_slice(&UNKNOWN);
        (out.len() - start - UNKNOWN.len()) as u64
    });
    out.extend_from_slice(b"data");
    out.extend_from_slice(&UNKNOWN);
    Ok((frame.into(), fact))
}

fn no_place(what: &str, others: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("WAV has no place for {what}: {others} have"))
}
