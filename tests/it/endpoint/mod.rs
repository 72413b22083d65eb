pub mod archived_media;
pub mod clock;
pub mod get_media;
pub mod images;
pub mod playback;
pub mod server;
