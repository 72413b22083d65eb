//! What a sink has recorded.

/// What a sink has recorded so far.
///
/// ```
/// let summary = kinesis_video::Summary::default();
/// assert_eq!(summary.to_string(), "0 items, 0 bytes, 0 files, 0 gaps");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) gaps: u64,
}

impl Summary {
    /// Items taken and written: fragments, pictures or stretches of audio.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Files finished under their final names.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Items that were not whole, or had something missing before them.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Both together, as when one stream feeds two sinks.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            bytes: self.bytes + other.bytes,
            files: self.files + other.files,
            gaps: self.gaps + other.gaps,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { items, bytes, files, gaps } = self;
        write!(f, "{items} items, {bytes} bytes, {files} files, {gaps} gaps")
    }
}
