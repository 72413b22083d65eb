//! Reading what is stored.

mod info;
mod list;

pub use info::FragmentInfo;
pub use list::{FragmentList, Order};
