//! Stored media: ListFragments, GetMediaForFragmentList, GetClip, GetImages and playback sessions.

mod archived_stream;
mod clips;
mod fetch;
mod fragment_info;
mod images;
mod list;
mod millis_range;
mod newest;
pub mod playback;
mod shard;

pub use crate::fragment::Clock;
pub use archived_stream::ArchivedStream;
pub use clips::{Clip, ClipStream, Clips};
pub use fetch::{Archive, ArchiveFragments, ArchiveProgress, OnUnavailable};
pub use fragment_info::FragmentInfo;
pub use images::{ArchivedImage, ImageStream, Images, NoImage};
pub use list::{FragmentEntries, FragmentList, Order};
pub use playback::{DashSession, HlsSession, PlaybackUrl};
pub use shard::Shard;
