//! How far reading the archive has come.

use crate::error::Error;
use crate::fragment::Position;

/// How far an [`Archive`](super::Archive) has come, from [`Archive::progress`](super::Archive::progress).
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
    /// Fragments given out, and those that could not be had.
    pub fragments: u64,
    /// Of so many; `None` before the range has been listed.
    pub total_fragments: Option<u64>,
    /// How large those fragments are, as listed, or where that is not known, as they came.
    pub bytes: u64,
    /// Of so many; `None` before the range has been listed, or where nothing says how large fragments are.
    pub total_bytes: Option<u64>,
    /// Fragments that could not be had, and were skipped.
    pub unavailable: u64,
    /// Calls of GetMediaForFragmentList.
    pub calls: u64,
    /// Bytes received, those that came again included; brought up to date with each fragment.
    pub received_bytes: u64,
    /// Bytes of fragments that wait for one before them; brought up to date with each that is given out.
    pub held_bytes: u64,
    /// What went wrong last, since the last fragment; what ended it, if something did.
    pub error: Option<Error>,
    /// Behind the last fragment that was given out whole.
    pub position: Option<Position>,
}
