//! G.711: 16-bit samples in 8 bits, on a logarithmic scale.

/// A byte of silence in A-law, and in mu-law.
pub(crate) const ALAW_SILENCE: u8 = 0xD5;
pub(crate) const MULAW_SILENCE: u8 = 0xFF;

/// Decodes a sample of A-law.
pub(crate) fn of_alaw(byte: u8) -> i16 {
    // Every other bit is stored inverted.
    let bits = byte ^ 0x55;
    let mantissa = i16::from(bits & 0x0F) << 4;
    let size = match bits >> 4 & 7 {
        0 => mantissa + 8,
        segment => (mantissa + 0x108) << (segment - 1),
    };
    if bits & 0x80 == 0 { -size } else { size }
}

/// Decodes a sample of mu-law.
pub(crate) fn of_mulaw(byte: u8) -> i16 {
    const BIAS: i16 = 0x84;
    let bits = !byte;
    let size = (((i16::from(bits & 0x0F) << 3) + BIAS) << (bits >> 4 & 7)) - BIAS;
    if bits & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest value of each segment, from tables 1a and 2a of the recommendation.
    #[test]
    fn the_ends_of_segments_are_those_of_the_recommendation() {
        // A-law counts in 13 bits, mu-law in 14.
        let alaw = [31, 63, 126, 252, 504, 1008, 2016, 4032].map(|value| value * 8);
        let mulaw = [30, 93, 219, 471, 975, 1983, 3999, 8031].map(|value| value * 4);
        for (segment, (alaw, mulaw)) in alaw.into_iter().zip(mulaw).enumerate() {
            let bits = (segment as u8) << 4 | 0x0F;
            assert_eq!(of_alaw((bits | 0x80) ^ 0x55), alaw, "segment {segment}");
            assert_eq!(of_alaw(bits ^ 0x55), -alaw, "segment {segment}");
            assert_eq!(of_mulaw(!bits), mulaw, "segment {segment}");
            assert_eq!(of_mulaw(!(bits | 0x80)), -mulaw, "segment {segment}");
        }
        assert_eq!((of_alaw(ALAW_SILENCE), of_mulaw(MULAW_SILENCE)), (8, 0));
    }

    #[test]
    fn values_rise_with_their_codes() {
        let alaw: Vec<i16> = (0..128).map(|code| of_alaw((code | 0x80) ^ 0x55)).collect();
        let mulaw: Vec<i16> = (0..128).map(|code| of_mulaw(!code)).collect();
        assert!(alaw.is_sorted_by(|a, b| a < b) && mulaw.is_sorted_by(|a, b| a < b));
    }
}
