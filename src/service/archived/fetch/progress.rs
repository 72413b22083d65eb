//! [`ArchiveProgress`]: counters of an archive read.

use crate::error::Error;
use crate::fragment::Position;

/// Progress of an archive read, from [`ArchiveFragments::progress`](super::ArchiveFragments::progress).
///
/// ```
/// use kinesis_video::ArchiveProgress;
///
/// fn percent(progress: &ArchiveProgress) -> Option<u64> {
///     let total = progress.total_bytes.filter(|total| *total > 0)?;
///     Some(progress.bytes * 100 / total)
/// }
/// # assert_eq!(percent(&ArchiveProgress::default()), None);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ArchiveProgress {
    /// Number of fragments yielded whole or skipped as unavailable.
    pub fragments: u64,
    /// Number of fragments to read, without those skipped by `start_after`. `None` before they are known.
    pub total_fragments: Option<u64>,
    /// Listed size of the fragments in [`fragments`](Self::fragments).
    ///
    /// A yielded fragment without a listed size counts with its received size.
    pub bytes: u64,
    /// Listed size of all fragments to read.
    ///
    /// `None` before they are known, or without listed sizes.
    pub total_bytes: Option<u64>,
    /// Number of unavailable fragments that were skipped. Always 0 with [`OnUnavailable::Fail`](crate::OnUnavailable).
    pub unavailable: u64,
    /// Number of GetMediaForFragmentList calls, including failed ones.
    pub calls: u64,
    /// Bytes received in bodies, including repeated ones. Updated with each counted fragment, and at an error.
    pub received_bytes: u64,
    /// Bytes buffered until earlier fragments arrive. Updated with each counted fragment.
    pub held_bytes: u64,
    /// The last failure of a call since the last whole fragment, or the error that ended the stream.
    pub error: Option<Error>,
    /// Position after the last fragment that was yielded whole. `None` before the first.
    pub position: Option<Position>,
}
