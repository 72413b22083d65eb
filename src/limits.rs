//! Limits on sizes in the input.

/// Limits on sizes in a body, to bound memory when the input is not trusted.
///
/// Exceeding a limit is an [`ErrorKind::Limit`](crate::ErrorKind::Limit). Sizes are checked when they
/// are declared, before memory is reserved. The defaults are finite, and above what the service allows
/// a producer to send.
///
/// | limit | default | the service allows |
/// |---|---|---|
/// | [`fragment_bytes`](Limits::fragment_bytes) | 64 MiB | 50 MB |
/// | [`metadata_bytes`](Limits::metadata_bytes) | 4 MiB | |
/// | [`blocks`](Limits::blocks) | 262,144 | |
/// | [`depth`](Limits::depth) | 16 | |
/// | [`tags`](Limits::tags) | 1,024 | 10 |
/// | [`tracks`](Limits::tracks) | 32 | 3 |
///
/// ```
/// use kinesis_video::{FragmentStream, Limits};
///
/// // Many small streams on one machine: no fragment needs more than 4 MiB.
/// let limits = Limits::default().fragment_bytes(4 << 20);
/// let body: &[u8] = &[];
/// let fragments = FragmentStream::new(body).limits(limits);
/// # drop(fragments);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) fragment_bytes: u32,
    pub(crate) metadata_bytes: u32,
    pub(crate) blocks: u32,
    pub(crate) depth: u8,
    pub(crate) tags: u32,
    pub(crate) tracks: u32,
}

impl Limits {
    /// Sets the maximum size of one fragment, including headers and tags. Default: 64 MiB.
    ///
    /// An MKV file without tags of the service is one fragment, so raise this limit to read a larger file.
    #[must_use]
    pub fn fragment_bytes(mut self, bytes: u32) -> Self {
        self.fragment_bytes = bytes;
        self
    }

    /// Sets the maximum size of one EBML header, Info, Tracks or Tags element. Default: 4 MiB.
    #[must_use]
    pub fn metadata_bytes(mut self, bytes: u32) -> Self {
        self.metadata_bytes = bytes;
        self
    }

    /// Sets the maximum number of blocks in one fragment. Default: 262,144.
    ///
    /// The default is enough for 20 seconds of 3 tracks with 4,000 blocks per second each. Each block needs 32
    /// bytes of memory for its index entry.
    #[must_use]
    pub fn blocks(mut self, blocks: u32) -> Self {
        self.blocks = blocks;
        self
    }

    /// Sets the maximum nesting depth of elements and of tags. Default: 16.
    ///
    /// Blocks in BlockGroups need at least 3 levels.
    #[must_use]
    pub fn depth(mut self, levels: u8) -> Self {
        self.depth = levels;
        self
    }

    /// Sets the maximum number of tags in one fragment. Default: 1,024.
    ///
    /// Nested tags and tags of the service count too.
    #[must_use]
    pub fn tags(mut self, tags: u32) -> Self {
        self.tags = tags;
        self
    }

    /// Sets the maximum number of tracks in one MKV document. Default: 32.
    #[must_use]
    pub fn tracks(mut self, tracks: u32) -> Self {
        self.tracks = tracks;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fragment_bytes: 64 << 20,
            metadata_bytes: 4 << 20,
            blocks: 1 << 18,
            depth: 16,
            tags: 1 << 10,
            tracks: 32,
        }
    }
}
