//! NAL unit headers, as far as decoding needs them (ITU-T H.264 section 7.3.1, H.265 section 7.3.1.2).

/// A codec with NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NalCodec {
    H264,
    H265,
}

/// The properties of a picture that its NAL unit headers declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PictureUnits {
    /// No picture after it in decoding order refers to a picture before it (IDR).
    pub(crate) is_refresh: bool,
    /// Decoding can start here. Pictures that are shown before it may still refer to earlier pictures.
    pub(crate) is_entry: bool,
    /// Decoded after an entry but shown before it, and refers to pictures before the entry (RASL).
    pub(crate) is_skipped_leading: bool,
    /// Decoded after an entry but shown before it, and refers to no picture before the entry (RADL).
    pub(crate) is_decodable_leading: bool,
    /// No picture of the same temporal layer or a lower one refers to it.
    pub(crate) is_disposable: bool,
    pub(crate) temporal_layer: u8,
}

impl PictureUnits {
    /// Reads the units of one packet. Returns `None` if it has no picture, only parameters or messages.
    pub(crate) fn of(codec: NalCodec, units: &[&[u8]]) -> Option<Self> {
        let mut found: Option<Self> = None;
        let mut is_recovery = false;
        for unit in units {
            is_recovery |= codec == NalCodec::H264 && is_recovery_point(unit);
            let picture = match codec {
                NalCodec::H264 => Self::of_h264(unit),
                NalCodec::H265 => Self::of_h265(unit),
            };
            let Some(picture) = picture else { continue };
            // The first slice has the type of the picture. The second field of a pair can still be a
            // reference although the first is not.
            let first = found.get_or_insert(picture);
            first.is_disposable &= picture.is_disposable;
        }
        found.map(|picture| Self { is_entry: picture.is_entry || is_recovery, ..picture })
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

/// Returns true if an H.264 unit has a recovery point (section D.1.8), where decoding can start.
fn is_recovery_point(unit: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    let Some((header, mut rest)) = unit.split_first() else { return false };
    if header & 0x1F != 6 {
        return false;
    }
    // Each message has a type and a size, which are sums of octets that end with an octet below 255.
    // Emulation prevention octets do not affect finding the type.
    while rest.len() > 2 {
        let mut number = || {
            let ones = rest.iter().take_while(|octet| **octet == 255).count();
            let last = rest.get(ones).copied().unwrap_or_default();
            rest = rest.get(ones + 1..).unwrap_or_default();
            ones * 255 + usize::from(last)
        };
        let (kind, size) = (number(), number());
        if kind == RECOVERY_POINT {
            return true;
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(units: &[&[u8]]) -> PictureUnits {
        PictureUnits::of(NalCodec::H264, units).unwrap()
    }

    fn h265(kind: u8, layer: u8) -> PictureUnits {
        PictureUnits::of(NalCodec::H265, &[&[kind << 1, layer + 1, 0x80]]).unwrap()
    }

    #[test]
    fn slices_of_h264() {
        // AUD, SPS, PPS, then an IDR slice with nal_ref_idc 3.
        let key = h264(&[&[0x09, 0xF0], &[0x67, 1], &[0x68, 1], &[0x65, 0x88]]);
        assert!(key.is_refresh && key.is_entry && !key.is_disposable);
        assert!(h264(&[&[0x01, 0x9A]]).is_disposable);
        assert!(!h264(&[&[0x41, 0x9A]]).is_disposable);
        assert!(!h264(&[&[0x01, 0x9A], &[0x41, 0x9A]]).is_disposable, "a second field that is referred to");
        assert_eq!(PictureUnits::of(NalCodec::H264, &[&[], &[0x06, 5], &[0x67, 1]]), None);
        // An I slice after other messages and a recovery point, and without a recovery point.
        let message = [0x06, 5, 3, 9, 9, 9, 6, 1, 0xC4, 0x80];
        assert!(h264(&[&message, &[0x41, 0x88]]).is_entry && !h264(&[&message, &[0x41, 0x88]]).is_refresh);
        assert!(!h264(&[&message[..6], &[0x41, 0x88]]).is_entry);
    }

    #[test]
    fn slices_of_h265() {
        assert!(h265(19, 0).is_refresh && h265(19, 0).is_entry);
        assert!(!h265(21, 0).is_refresh && h265(21, 0).is_entry);
        assert!(h265(8, 0).is_skipped_leading && h265(8, 0).is_disposable && !h265(9, 0).is_disposable);
        assert!(h265(6, 0).is_decodable_leading);
        assert!(h265(0, 2).is_disposable && !h265(1, 2).is_disposable);
        assert_eq!(h265(0, 2).temporal_layer, 2);
        assert_eq!(PictureUnits::of(NalCodec::H265, &[&[32 << 1, 1]]), None);
    }
}
