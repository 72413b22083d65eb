//! Samples without compression.

use bytes::Bytes;

use super::audio::{AudioCodec, AudioConfig};
use super::g711;
use crate::error::{Error, ErrorKind, Result};

impl AudioConfig {
    /// Converts PCM or G.711 to signed 16-bit little-endian samples. An incomplete value at the end is dropped.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) for codecs that need a decoder.
    pub(crate) fn to_pcm16(&self, payload: &Bytes) -> Result<Bytes> {
        let whole = self.whole(payload);
        let samples: Vec<[u8; 2]> = match self.codec() {
            AudioCodec::Alaw => whole.iter().map(|byte| g711::of_alaw(*byte).to_le_bytes()).collect(),
            AudioCodec::Mulaw => whole.iter().map(|byte| g711::of_mulaw(*byte).to_le_bytes()).collect(),
            AudioCodec::Pcm { bits: 16, is_big_endian: false } => return Ok(payload.slice(..whole.len())),
            // Samples of 8 bits are unsigned.
            AudioCodec::Pcm { bits: 8, .. } => whole.iter().map(|byte| [0, byte ^ 0x80]).collect(),
            AudioCodec::Pcm { bits, is_big_endian } => {
                let samples = whole.chunks_exact(usize::from(bits / 8).max(1));
                samples.filter_map(|sample| high_bytes(sample, is_big_endian)).collect()
            }
            AudioCodec::Aac { .. } | AudioCodec::Opus => {
                let message = format!("{} needs a decoder to become PCM, and this crate has none", self.codec_name());
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        Ok(samples.into_flattened().into())
    }

    /// Appends PCM or G.711 as WAV stores it: samples of several bytes are little-endian.
    pub(crate) fn append_for_wav(&self, samples: &[u8], out: &mut Vec<u8>) {
        match self.codec() {
            AudioCodec::Pcm { bits, is_big_endian: true } if bits > 8 => {
                for sample in samples.chunks_exact(usize::from(bits / 8)) {
                    out.extend(sample.iter().rev());
                }
            }
            _ => out.extend_from_slice(samples),
        }
    }

    /// Returns the byte that silence consists of.
    pub(crate) fn silence(&self) -> u8 {
        match self.codec() {
            AudioCodec::Alaw => g711::ALAW_SILENCE,
            AudioCodec::Mulaw => g711::MULAW_SILENCE,
            AudioCodec::Pcm { bits: 8, .. } => 0x80,
            _ => 0,
        }
    }

    /// Returns the payload without an incomplete value at its end, which would shift everything after it.
    pub(crate) fn whole<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        let frame = self.bytes_per_frame().map_or(1, |bytes| bytes.max(1) as usize);
        payload.get(..payload.len() - payload.len() % frame).unwrap_or_default()
    }
}

/// Returns the two most significant bytes of a sample, the lower one first.
fn high_bytes(sample: &[u8], is_big_endian: bool) -> Option<[u8; 2]> {
    if is_big_endian {
        let [high, low] = *sample.first_chunk()?;
        Some([low, high])
    } else {
        sample.last_chunk().copied()
    }
}
