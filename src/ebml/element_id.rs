//! Element ids.

use std::fmt;

/// The id of an element, with its marker bits, as the RFCs print it.
///
/// `Display` and `Debug` print the element's name, or the id in hexadecimal if the name is unknown.
///
/// ```
/// use kinesis_video::ebml::id;
///
/// assert_eq!(id::CLUSTER.name(), Some("Cluster"));
/// assert_eq!(format!("{:?}", id::CLUSTER), "Cluster");
/// assert_eq!(format!("{:#x}", id::CLUSTER), "0x1f43b675");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementId(pub u32);

impl ElementId {
    /// Returns the length of the id in octets, from 1 to 4.
    pub fn width(self) -> u8 {
        4 - (self.0.leading_zeros() / 8).min(3) as u8
    }
}

impl fmt::LowerHex for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
