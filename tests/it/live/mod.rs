pub mod chaos;
pub mod checkpoint;
pub mod reading;
