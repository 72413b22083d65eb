//! Variable-size integers (RFC 8794 section 4).
//!
//! The number of leading zero bits of the first octet is the number of octets after it.

/// The result of reading a variable-size integer from the front of a byte slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vint<T> {
    /// The value, and its length in bytes.
    Read(T, u8),
    /// The bytes end inside the integer.
    Short,
    /// The first bits are not those of an integer, or the integer is longer than allowed.
    Invalid,
}

/// The largest size that an element can declare. One more, all ones, means "unknown".
#[cfg(test)]
const MAX_SIZE: u64 = (1 << 56) - 2;

/// Reads an element id of one to four octets. The length marker is part of the id.
#[inline]
pub(crate) fn read_id(bytes: &[u8]) -> Vint<u32> {
    let Some(&first) = bytes.first() else { return Vint::Short };
    let length = first.leading_zeros() as usize + 1;
    if length > 4 {
        return Vint::Invalid;
    }
    let id = match bytes.first_chunk() {
        Some(four) => u32::from_be_bytes(*four) >> (32 - 8 * length),
        None => match bytes.get(..length) {
            Some(octets) => octets.iter().fold(0, |id, octet| id << 8 | u32::from(*octet)),
            None => return Vint::Short,
        },
    };
    // RFC 8794 section 5: the data bits are neither all zeros nor all ones. ChapterDisplay is older than
    // that rule.
    let data = id & !(1 << (7 * length));
    if (data == 0 && id != 0x80) || data == (1 << (7 * length)) - 1 {
        return Vint::Invalid;
    }
    Vint::Read(id, length as u8)
}

/// Reads a size field of one to eight octets. A value of `None` means "unknown".
#[inline]
pub(crate) fn read_size(bytes: &[u8]) -> Vint<Option<u64>> {
    match read_number(bytes) {
        Vint::Read(value, length) if value == ones(length) => Vint::Read(None, length),
        Vint::Read(value, length) => Vint::Read(Some(value), length),
        Vint::Short => Vint::Short,
        Vint::Invalid => Vint::Invalid,
    }
}

/// Reads an unsigned number of one to eight octets, such as the track number of a block.
#[inline]
pub(crate) fn read_number(bytes: &[u8]) -> Vint<u64> {
    let Some(&first) = bytes.first() else { return Vint::Short };
    let length = first.leading_zeros() as usize + 1;
    if length > 8 {
        return Vint::Invalid;
    }
    let value = match bytes.first_chunk() {
        Some(eight) => u64::from_be_bytes(*eight) >> (64 - 8 * length),
        None => match bytes.get(..length) {
            Some(octets) => octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)),
            None => return Vint::Short,
        },
    };
    Vint::Read(value & !(1 << (7 * length)), length as u8)
}

/// Reads a signed number, as EBML lacing uses for differences (RFC 9559 section 10.3.3).
///
/// The range is shifted so that its middle is 0.
pub(crate) fn read_signed(bytes: &[u8]) -> Vint<i64> {
    match read_number(bytes) {
        Vint::Read(value, length) => Vint::Read(value as i64 - (ones(length) >> 1) as i64, length),
        Vint::Short => Vint::Short,
        Vint::Invalid => Vint::Invalid,
    }
}

/// Returns the fewest octets that hold `value` as a size, or `None` if it needs more than eight.
pub(crate) fn width(value: u64) -> Option<u8> {
    (1..=8).find(|&width| value < ones(width))
}

/// Appends `value` as a number of `width` octets.
///
/// # Panics
/// If `width` is not 1 to 8, or if the value needs more octets.
pub(crate) fn write_number(out: &mut Vec<u8>, value: u64, width: u8) {
    assert!((1..=8).contains(&width) && value <= ones(width), "{value} does not fit {width} octets");
    let marked = value | 1 << (7 * u32::from(width));
    out.extend(marked.to_be_bytes().into_iter().skip(8 - usize::from(width)));
}

/// Appends the reserved size for "unknown" in `width` octets.
///
/// # Panics
/// If `width` is not 1 to 8.
pub(crate) fn write_unknown(out: &mut Vec<u8>, width: u8) {
    write_number(out, ones(width), width);
}

/// Returns a number with all data bits of a field of `width` octets set.
fn ones(width: u8) -> u64 {
    (1 << (7 * u32::from(width))) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_at_every_width(value in 0..=MAX_SIZE, spare in 0u8..8) {
            let width = (width(value).unwrap() + spare).min(8);
            let mut out = Vec::new();
            write_number(&mut out, value, width);
            prop_assert_eq!(out.len(), usize::from(width));
            prop_assert_eq!(read_size(&out), Vint::Read(Some(value), width));
            prop_assert_eq!(read_size(&out[..out.len() - 1]), Vint::Short);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            read_id(&bytes);
            read_size(&bytes);
            read_signed(&bytes);
        }
    }

    #[test]
    fn ids_keep_their_marker() {
        assert_eq!(read_id(&[0x1A, 0x45, 0xDF, 0xA3, 0x84]), Vint::Read(0x1A45_DFA3, 4));
        assert_eq!(read_id(&[0x1A, 0x45]), Vint::Short);
        assert_eq!(read_id(&[0x08]), Vint::Invalid);
    }

    #[test]
    fn sizes_lose_their_marker() {
        assert_eq!(read_size(&[0x82]), Vint::Read(Some(2), 1));
        assert_eq!(read_size(&[0x10, 0, 0, 0xE2]), Vint::Read(Some(226), 4));
        assert_eq!(read_size(&[0xFF]), Vint::Read(None, 1));
        let mut out = Vec::new();
        write_number(&mut out, 226, 4);
        assert_eq!(out, [0x10, 0, 0, 0xE2]);
    }

    #[test]
    fn unknown_is_all_ones_at_every_width() {
        for width in 1..=8 {
            let mut out = Vec::new();
            write_unknown(&mut out, width);
            assert_eq!(read_size(&out), Vint::Read(None, width));
        }
    }

    #[test]
    fn widths_change_where_the_rfc_says() {
        // RFC 8794 table 1: 2^7 - 2 is the last in one octet, 2^14 - 2 in two.
        for (value, expected) in [(0, 1), (126, 1), (127, 2), (16_382, 2), (16_383, 3), (MAX_SIZE, 8)] {
            assert_eq!(width(value), Some(expected), "{value}");
        }
        assert_eq!(width(MAX_SIZE + 1), None);
    }

    #[test]
    fn signed_numbers_are_centred() {
        assert_eq!(read_signed(&[0x80]), Vint::Read(-63, 1));
        assert_eq!(read_signed(&[0xBF]), Vint::Read(0, 1));
        assert_eq!(read_signed(&[0x5F, 0xFF]), Vint::Read(0, 2));
        assert_eq!(read_signed(&[0xFE]), Vint::Read(63, 1));
    }

    #[test]
    fn ids_of_only_zeros_or_ones_are_invalid() {
        for bytes in [&[0xFF][..], &[0x40, 0x00], &[0x7F, 0xFF], &[0x00, 0xFF, 0xFF, 0xFF]] {
            assert_eq!(read_id(bytes), Vint::Invalid, "{bytes:02x?}");
        }
    }
}
