//! What the NAL units of a packet say about decoding it: the headers of ITU-T H.264 section 7.3.1 and
//! H.265 section 7.3.1.2.

/// A codec of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NalCodec {
    H264,
    H265,
}

/// What is known of a picture by the headers of its units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PictureUnits {
    /// Nothing behind it in decoding order refers to anything before it.
    pub(crate) is_refresh: bool,
    /// One can begin to decode here, but what is shown before it may refer to earlier pictures.
    pub(crate) is_entry: bool,
    /// Shown before the entry that it follows, and refers to what stands before that.
    pub(crate) is_skipped_leading: bool,
    /// Shown before the entry that it follows, and refers to nothing before that.
    pub(crate) is_decodable_leading: bool,
    /// No picture of the same temporal layer or a lower one refers to it.
    pub(crate) is_disposable: bool,
    pub(crate) temporal_layer: u8,
}

impl PictureUnits {
    /// Reads the units of one packet. What has no picture in it is none of the things above.
    pub(crate) fn of(codec: NalCodec, units: &[&[u8]]) -> Self {
        let mut found: Option<Self> = None;
        for unit in units {
            let picture = match codec {
                NalCodec::H264 => Self::of_h264(unit),
                NalCodec::H265 => Self::of_h265(unit),
            };
            let Some(picture) = picture else { continue };
            // The first slice says what the picture is; the second field of a pair can still be one
            // that others refer to.
            let first = found.get_or_insert(picture);
            first.is_disposable &= picture.is_disposable;
        }
        found.unwrap_or_default()
    }

    fn of_h264(unit: &[u8]) -> Option<Self> {
        let header = *unit.first()?;
        let (reference, kind) = (header >> 5 & 3, header & 0x1F);
        (1..=5).contains(&kind).then(|| Self {
            is_refresh: kind == 5,
            is_entry: kind == 5,
            is_disposable: reference == 0,
            ..Self::default()
        })
    }

    fn of_h265(unit: &[u8]) -> Option<Self> {
        let [first, second] = *unit.first_chunk()?;
        let kind = first >> 1 & 0x3F;
        (kind < 32).then(|| Self {
            is_refresh: matches!(kind, 19 | 20),
            is_entry: (16..24).contains(&kind),
            is_skipped_leading: matches!(kind, 8 | 9),
            is_decodable_leading: matches!(kind, 6 | 7),
            is_disposable: kind < 16 && kind % 2 == 0,
            temporal_layer: (second & 7).saturating_sub(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(units: &[&[u8]]) -> PictureUnits {
        PictureUnits::of(NalCodec::H264, units)
    }

    fn h265(kind: u8, layer: u8) -> PictureUnits {
        PictureUnits::of(NalCodec::H265, &[&[kind << 1, layer + 1, 0x80]])
    }

    #[test]
    fn slices_of_h264() {
        // AUD, SPS, PPS, then an IDR slice with nal_ref_idc 3.
        let key = h264(&[&[0x09, 0xF0], &[0x67, 1], &[0x68, 1], &[0x65, 0x88]]);
        assert!(key.is_refresh && key.is_entry && !key.is_disposable);
        assert!(h264(&[&[0x01, 0x9A]]).is_disposable);
        assert!(!h264(&[&[0x41, 0x9A]]).is_disposable);
        assert!(!h264(&[&[0x01, 0x9A], &[0x41, 0x9A]]).is_disposable, "a second field that is referred to");
        assert_eq!(h264(&[&[], &[0x06, 5]]), PictureUnits::default());
    }

    #[test]
    fn slices_of_h265() {
        assert!(h265(19, 0).is_refresh && h265(19, 0).is_entry);
        assert!(!h265(21, 0).is_refresh && h265(21, 0).is_entry);
        assert!(h265(8, 0).is_skipped_leading && h265(8, 0).is_disposable && !h265(9, 0).is_disposable);
        assert!(h265(6, 0).is_decodable_leading);
        assert!(h265(0, 2).is_disposable && !h265(1, 2).is_disposable);
        assert_eq!(h265(0, 2).temporal_layer, 2);
        assert_eq!(h265(32, 0), PictureUnits::default());
    }
}
