//! The totals of a sink.

/// The totals of a sink: items, bytes, files and gaps.
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
    /// Returns the number of items written: fragments, pictures or audio chunks.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Returns the number of bytes written to files.
    ///
    /// Some sinks count the bytes of a file only when the file is complete.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of complete files, which have their final names.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns the number of items that were incomplete, or before which media was missing.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Adds written items, for a sink of your own.
    ///
    /// ```
    /// let summary = kinesis_video::Summary::default().plus_items(2).plus_bytes(100).plus_files(1);
    /// assert_eq!(summary.plus_gaps(1).to_string(), "2 items, 100 bytes, 1 files, 1 gaps");
    /// ```
    #[must_use]
    pub fn plus_items(mut self, items: u64) -> Self {
        self.items += items;
        self
    }

    /// Adds written bytes.
    #[must_use]
    pub fn plus_bytes(mut self, bytes: u64) -> Self {
        self.bytes += bytes;
        self
    }

    /// Adds complete files.
    #[must_use]
    pub fn plus_files(mut self, files: u64) -> Self {
        self.files += files;
        self
    }

    /// Adds items that were incomplete, or before which media was missing.
    #[must_use]
    pub fn plus_gaps(mut self, gaps: u64) -> Self {
        self.gaps += gaps;
        self
    }

    /// Adds the totals of two sinks.
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
