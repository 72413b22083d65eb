//! Fragment numbers in the service's format.

use crate::fragment::FragmentNumber;

/// Makes a fragment number in the service's format.
///
/// `ordinal` counts the fragments of a producer session, from 1. `server_millis` is the server time, in
/// milliseconds since 1970. The number is 2^156 + ordinal * 2^92 + millis * 2^28, as in all captures. It has
/// 47 digits and fits no integer type.
///
/// ```
/// let number = kinesis_video::local::fragment_number(1, 1_511_852_109_126);
/// assert_eq!(number.as_str(), "91343852333181432392682062607743920145891852288");
/// ```
pub fn fragment_number(ordinal: u32, server_millis: u64) -> FragmentNumber {
    let low = (u128::from(ordinal) << 92) + (u128::from(server_millis) << 28);
    // 32-bit limbs, least significant first; the fifth holds 2^156.
    let mut limbs = [low as u32, (low >> 32) as u32, (low >> 64) as u32, (low >> 96) as u32, 1 << (156 - 128)];
    let mut digits = Vec::with_capacity(47);
    while limbs != [0; 5] {
        let remainder = limbs.iter_mut().rev().fold(0, |carry: u64, limb| {
            let value = carry << 32 | u64::from(*limb);
            *limb = (value / 10) as u32;
            value % 10
        });
        digits.push(b'0' + remainder as u8);
    }
    FragmentNumber::from_digits(digits.iter().rev().map(|&digit| char::from(digit)).collect())
}

/// Hashes a number, the same way in every run.
pub(crate) fn mix(number: u64) -> u64 {
    // This is the finaliser of SplitMix64.
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
