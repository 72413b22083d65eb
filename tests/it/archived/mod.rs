pub mod chaos;
pub mod clips;
pub mod fetch;
pub mod images;
pub mod model;
pub mod newest;
pub mod playback;
pub mod typed_modes;
