//! The number of rounds of random tests.

/// Multiplies a usual number of rounds by `KVS_ROUNDS`, which `make proof` sets. Default: 1.
pub fn rounds(usual: u64) -> u64 {
    let times = std::env::var("KVS_ROUNDS").map_or(1, |times| times.parse().expect("KVS_ROUNDS is a whole number"));
    usual * times
}
