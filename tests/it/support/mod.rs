pub mod bodies;
pub mod ffmpeg;
pub mod footage;
pub mod stand_in;
