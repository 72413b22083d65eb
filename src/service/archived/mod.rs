//! Stored media: ListFragments, GetMediaForFragmentList, GetClip, GetImages and playback sessions.

mod clips;
mod clock;
mod fetch;
mod fragment_info;
mod images;
mod lazy_stream;
mod list;
mod millis_range;
pub mod playback;

pub use clips::{Clip, Clips};
pub use clock::Clock;
pub use fetch::{Archive, ArchiveProgress, Unavailable};
pub use fragment_info::FragmentInfo;
pub use images::{ArchivedImage, Images, NoImage};
pub use list::{FragmentList, Order};
pub use playback::{DashSession, HlsSession, PlaybackUrl};
