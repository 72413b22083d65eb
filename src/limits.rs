//! Every cap on sizes that come from outside.

/// How much a body may ask for before reading it is an error.
///
/// Everything is checked on the declared size, before memory is reserved on its word. The defaults
/// are above what the service lets a producer send (50 MB a fragment, 3 tracks, 10 tags), and
/// finite.
///
/// ```
/// use kinesis_video::{FragmentStream, Limits};
///
/// // Many small streams on one machine: nobody needs more than 4 MiB a fragment.
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
    /// Bytes of one fragment, headers and tags included: 64 MiB. A plain MKV file without service
    /// tags is one fragment, so raise this to read a larger one.
    #[must_use]
    pub fn fragment_bytes(mut self, bytes: u32) -> Self {
        self.fragment_bytes = bytes;
        self
    }

    /// Bytes of one metadata element (EBML header, Info, Tracks, Tags): 4 MiB.
    #[must_use]
    pub fn metadata_bytes(mut self, bytes: u32) -> Self {
        self.metadata_bytes = bytes;
        self
    }

    /// Blocks in one fragment: 262,144 (20 seconds of 3 tracks at 4 kHz). Each costs 32 bytes of index.
    #[must_use]
    pub fn blocks(mut self, blocks: u32) -> Self {
        self.blocks = blocks;
        self
    }

    /// Levels of nested elements: 16.
    #[must_use]
    pub fn depth(mut self, levels: u8) -> Self {
        self.depth = levels;
        self
    }

    /// Tags in one fragment, the service's and nested ones included: 1,024.
    #[must_use]
    pub fn tags(mut self, tags: u32) -> Self {
        self.tags = tags;
        self
    }

    /// Tracks in one document: 32.
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
