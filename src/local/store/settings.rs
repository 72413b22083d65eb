//! What the control operations set of a stream.

use std::collections::BTreeMap;

/// The settings of a stream that have no effect on its media.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) media_type: Option<String>,
    pub(crate) device_name: Option<String>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The number of updates so far.
    pub(crate) updates: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            media_type: Some("video/h264".into()),
            device_name: None,
            kms_key_id: None,
            tags: BTreeMap::new(),
            updates: 0,
        }
    }
}

impl Settings {
    /// Returns the version, which each update changes.
    pub(crate) fn version(&self) -> String {
        if self.updates == 0 { "local".into() } else { format!("local{}", self.updates) }
    }
}
