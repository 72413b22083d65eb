//! [`Film`]: fragments as fragmented MP4, with what the page shows of each.
//!
//! ```text
//! emsg (JSON of the fragment) ftyp moov moof mdat | emsg moof mdat | emsg moof mdat | emsg ftyp moov moof mdat …
//! ```
//!
//! The page reads the `emsg` boxes. Players ignore them. A new `ftyp` and `moov` come where the tracks change or the
//! producer's clock goes back.

use bytes::Bytes;
use mp4_atom::{Emsg, EmsgTimestamp, Encode};
use serde_json::{Value, json};

use super::answer::Failure;
use super::{codecs, details};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Fragment;
use crate::mux::mp4::{Mp4, Mp4Options};
use crate::mux::{Gaps, Media, MuxedFile};

/// The name of our `emsg` boxes.
const SCHEME: &str = "urn:kinesis-video:fragment";

/// Fragments as fragmented MP4.
pub(super) struct Film {
    muxed: Option<MuxedFile<Mp4>>,
    files: u64,
    media_type: String,
    /// One file, without `emsg` boxes, for a download.
    is_plain: bool,
}

impl Film {
    pub(super) fn new(is_plain: bool) -> Self {
        Self { muxed: None, files: 0, media_type: String::new(), is_plain }
    }

    /// Returns the bytes of a fragment.
    ///
    /// # Errors
    /// If MP4 has no place for the fragment.
    pub(super) fn push(&mut self, fragment: &Fragment) -> Result<Bytes> {
        let Some(media) = Media::of(fragment) else { return Ok(self.event(fragment, None)) };
        let split = self.muxed.as_ref().and_then(|muxed| muxed.timeline.split_before(&media));
        if split.is_some() {
            if self.is_plain {
                let message = "the tracks or the clock change here, so the file cannot continue";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            self.muxed = None;
        }
        let mut out = Vec::new();
        let at = match &mut self.muxed {
            Some(muxed) => {
                let at = muxed.timeline.elapsed(&media);
                muxed.push(media, fragment, &mut out)?;
                at
            }
            None => {
                let options = Mp4Options { is_fragmented: true, ..Mp4Options::default() };
                self.media_type = codecs::media_type(fragment)?;
                self.files += 1;
                self.muxed = Some(MuxedFile::begin(&options, Gaps::Keep, media, fragment, &mut out)?);
                std::time::Duration::ZERO
            }
        };
        if self.is_plain {
            return Ok(out.into());
        }
        Ok([&self.event(fragment, Some(at.as_secs_f64()))[..], &out].concat().into())
    }

    fn event(&self, fragment: &Fragment, at: Option<f64>) -> Bytes {
        if self.is_plain {
            return Bytes::new();
        }
        event(&json!({
            "fragment": details::of_fragment(fragment),
            "kind": details::kind(fragment.tracks()),
            "at": at,
            "file": self.files,
            "type": self.media_type,
        }))
    }
}

/// Returns a box with JSON for the page.
pub(super) fn event(json: &Value) -> Bytes {
    let event = Emsg {
        timescale: 1000,
        presentation_time: EmsgTimestamp::Absolute(0),
        event_duration: 0,
        id: 0,
        scheme_id_uri: SCHEME.into(),
        value: String::new(),
        message_data: json.to_string().into_bytes(),
    };
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = event.encode(&mut out);
    out.into()
}

/// Returns a box that tells the page why nothing more comes.
pub(super) fn failed(error: &Error) -> Bytes {
    event(&Failure::from(error.clone()).to_json())
}
