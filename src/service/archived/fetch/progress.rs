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
    /// Number of fragments yielded or found unavailable.
    pub fragments: u64,
    /// Number of fragments in the range. `None` before the range has been listed.
    pub total_fragments: Option<u64>,
    /// Size of the counted fragments, as listed. Unlisted fragments count with their received size.
    pub bytes: u64,
    /// Size of the range, as listed. `None` before the range has been listed, or without listed sizes.
    pub total_bytes: Option<u64>,
    /// Number of unavailable fragments that were skipped.
    pub unavailable: u64,
    /// Number of GetMediaForFragmentList calls.
    pub calls: u64,
    /// Bytes received, including repeated ones. Updated with each yielded fragment.
    pub received_bytes: u64,
    /// Bytes buffered until earlier fragments arrive. Updated with each yielded fragment.
    pub held_bytes: u64,
    /// The last error since the last yielded fragment, or the error that ended the stream.
    pub error: Option<Error>,
    /// Position after the last fragment that was yielded whole.
    pub position: Option<Position>,
}
