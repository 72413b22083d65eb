pub mod chaos;
pub mod checkpoint;
mod errors;
mod reading;
