//! ADTS frames: AAC with a header before each frame (ISO/IEC 14496-3 section 1.A.2.2).

use bytes::{BufMut, Bytes, BytesMut};

use super::audio::{AudioCodec, AudioConfig};
use crate::error::{Error, ErrorKind, Result};

/// The bytes of an ADTS header without a checksum.
const HEADER: usize = 7;

/// The length of a frame has 13 bits, and includes the header.
const LONGEST: usize = (1 << 13) - 1 - HEADER;

impl AudioConfig {
    /// Returns an AAC frame with an ADTS header before it.
    ///
    /// # Errors
    /// As for [`adts_header`](AudioConfig::adts_header).
    pub(crate) fn to_adts(&self, frame: &[u8]) -> Result<Bytes> {
        let mut out = BytesMut::with_capacity(HEADER + frame.len());
        if let Some(header) = self.adts_header(frame)? {
            out.put_slice(&header);
        }
        out.put_slice(frame);
        Ok(out.freeze())
    }

    /// Returns the header of an AAC frame. `None` if the producer has sent the frame with one.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the header has no place for the configuration.
    /// - [`Malformed`](ErrorKind::Malformed) if the frame is longer than 8,184 bytes.
    pub(crate) fn adts_header(&self, frame: &[u8]) -> Result<Option<[u8; HEADER]>> {
        let (profile, frequency, channels) = self.adts_fields()?;
        if is_adts(frame) {
            return Ok(None);
        }
        if frame.len() > LONGEST {
            let message =
                format!("an AAC frame of {} bytes is too long for ADTS: it takes {LONGEST} bytes", frame.len());
            return Err(Error::malformed(message));
        }
        let length = (HEADER + frame.len()) as u16;
        Ok(Some([
            0xFF,
            // MPEG-4, and no checksum.
            0xF1,
            profile << 6 | frequency << 2 | channels >> 2,
            channels << 6 | (length >> 11) as u8,
            (length >> 3) as u8,
            // A fullness of all ones means that the bit rate varies. One raw data block.
            (length << 5) as u8 | 0x1F,
            0xFC,
        ]))
    }

    /// Returns the profile, frequency and channels as a header stores them.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if a header has no place for one of them.
    pub(crate) fn adts_fields(&self) -> Result<(u8, u8, u8)> {
        let none = |what: String| {
            let message = format!("ADTS has no place for {what}: MP4, MOV and MKV have");
            Error::new(ErrorKind::Unsupported, message)
        };
        let (AudioCodec::Aac { .. }, Some(config)) = (self.codec(), self.aac()) else {
            let message = match self.codec() {
                AudioCodec::Opus => {
                    "ADTS has a place for AAC only, and the audio is Opus: MP4, MOV and MKV have".into()
                }
                _ => format!("ADTS has a place for AAC only, and the audio is {}: WAV has", self.codec_name()),
            };
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let object_type = config.object_type;
        if !matches!(object_type, 1..=4) {
            return Err(none(format!("AAC of the object type {object_type}")));
        }
        if config.is_short || config.is_scalable {
            return Err(none("AAC with frames of 960 samples or with a core coder".into()));
        }
        let frequency = config.frequency_index();
        let frequency = frequency.ok_or_else(|| none(format!("a sampling frequency of {} Hz", config.frequency)))?;
        match config.channel_configuration {
            channels @ 1..=7 => Ok((object_type - 1, frequency, channels)),
            0 => Err(none("a list of channels".into())),
            _ => Err(none(format!("{} channels", config.channels))),
        }
    }
}

/// Returns true if the frame begins with an ADTS header of its own. A raw frame never begins with these bits.
fn is_adts(frame: &[u8]) -> bool {
    let Some(&[sync, layer, _, a, b, c, _]) = frame.first_chunk::<HEADER>() else { return false };
    let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c >> 5);
    sync == 0xFF && layer & 0xF6 == 0xF0 && length == frame.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(private: &[u8]) -> AudioConfig {
        AudioConfig::of_aac(Some(&Bytes::copy_from_slice(private))).unwrap()
    }

    proptest! {
        #[test]
        fn a_header_says_what_the_config_says(
            object_type in 1u8..=4,
            frequency in 0u8..13,
            channels in 1u8..=7,
            length in 0..=LONGEST,
        ) {
            let config = config(&[object_type << 3 | frequency >> 1, frequency << 7 | channels << 3]);
            // A raw frame never begins with a whole byte of ones.
            let frame = vec![0x21; length];
            let framed = config.to_adts(&frame).unwrap();
            let (header, rest) = framed.split_at(HEADER);
            prop_assert_eq!(rest, &frame);
            let bits = header.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            let field = |at: usize, width: usize| bits >> (56 - at - width) & ((1 << width) - 1);
            // In order: sync word, MPEG-4, layer, no checksum.
            prop_assert_eq!((field(0, 12), field(12, 1), field(13, 2), field(15, 1)), (0xFFF, 0, 0, 1));
            prop_assert_eq!(field(16, 2), u64::from(object_type - 1));
            prop_assert_eq!(field(18, 4), u64::from(frequency));
            prop_assert_eq!(field(23, 3), u64::from(channels));
            prop_assert_eq!(field(30, 13), framed.len() as u64);
            prop_assert_eq!((field(43, 11), field(54, 2)), (0x7FF, 0));
            // A frame that has a header keeps it.
            prop_assert_eq!(config.to_adts(&framed).unwrap(), framed);
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let long = config(&[0x11, 0x90]).to_adts(&vec![0x21; LONGEST + 1]).unwrap_err();
        assert_eq!(
            long.to_string(),
            "malformed media: an AAC frame of 8185 bytes is too long for ADTS: it takes 8184 bytes"
        );
        // In order: ELD; an odd frequency; a list of channels; 11 channels; 960 samples.
        for private in
            [&[0xF8, 0xE6, 0x20, 0][..], &[0x17, 0x80, 0x1F, 0x41, 0x10], &[0x11, 0x80], &[0x11, 0xD8], &[0x11, 0x94]]
        {
            let error = config(private).to_adts(&[1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("MP4, MOV and MKV have"), "{error}");
        }
        // HE-AAC has the object type and frequency of its core coder, whatever comes on top.
        assert_eq!(config(&[0x2B, 0x11, 0x88, 0]).adts_fields().unwrap(), (1, 6, 2));
    }
}
