pub mod archived_media;
pub mod clock;
pub mod get_media;
pub mod images;
pub mod list_fragments;
pub mod playback;
pub mod put_media;
pub mod server;
