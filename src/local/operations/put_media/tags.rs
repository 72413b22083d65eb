//! What the session needs to know of a producer's tags.

use super::error::{PutError, Refusal, invalid, unreadable};
use crate::ebml::{Cursor, Item, id, uint, without_padding};

/// The tag that ends a fragment while the body stays open.
const END_OF_FRAGMENT: &[u8] = b"AWS_KINESISVIDEO_END_OF_FRAGMENT";

/// The other names of the service's that producers may use.
const RESERVED: [&[u8]; 3] =
    [b"AWS_KINESISVIDEO_IMAGE_GENERATION", b"AWS_KINESISVIDEO_IMAGE_PREFIX", b"AWS_KINESISVIDEO_NOTIFICATION"];

const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 256;

/// How deep tags may nest.
const MAX_DEPTH: u8 = 8;

/// A Tags element that was read and found valid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TagsRead {
    /// The number of tags that count against the fragment's limit. Tags of single tracks do not.
    pub(super) count: usize,
    /// Set if the tag is there that ends a fragment.
    pub(super) ends_fragment: bool,
    /// Set if no other tag is there.
    pub(super) only_ends: bool,
}

impl TagsRead {
    /// Reads the payload of a Tags element, which begins at `offset`.
    pub(super) fn of(payload: &[u8], offset: u64) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let mut others = false;
        let mut tags = Cursor::new(payload, offset);
        while let Some(tag) = tags.next().map_err(unreadable)? {
            if tag.id != id::TAG {
                continue;
            }
            let is_of_track = is_of_track(&tag)?;
            let mut children = Cursor::inside(&tag);
            while let Some(child) = children.next().map_err(unreadable)? {
                if child.id == id::SIMPLE_TAG {
                    read.simple_tag(&child, is_of_track, &mut others, MAX_DEPTH)?;
                }
            }
        }
        read.only_ends = read.ends_fragment && !others;
        Ok(read)
    }

    fn simple_tag(&mut self, tag: &Item<'_>, is_of_track: bool, others: &mut bool, depth: u8) -> Result<(), Refusal> {
        let depth = depth.checked_sub(1).ok_or_else(|| invalid("tags nest too deeply"))?;
        let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
        let mut children = Cursor::inside(tag);
        while let Some(child) = children.next().map_err(unreadable)? {
            match child.id {
                id::TAG_NAME => name = without_padding(child.payload),
                id::TAG_STRING => value = without_padding(child.payload),
                id::TAG_BINARY => value = child.payload,
                id::SIMPLE_TAG => self.simple_tag(&child, is_of_track, others, depth)?,
                _ => {}
            }
        }
        if name == END_OF_FRAGMENT {
            self.ends_fragment = true;
            return Ok(());
        }
        *others = true;
        let limit = |reason: &str| Err((PutError::FragmentMetadataLimitReached, reason.to_owned()));
        if name.starts_with(b"AWS") && !RESERVED.contains(&name) {
            return limit("the name of a tag begins with AWS");
        }
        if is_of_track {
            return Ok(());
        }
        self.count += 1;
        if name.len() > MAX_NAME {
            return limit("the name of a tag is longer than 128 bytes");
        }
        if value.len() > MAX_VALUE {
            return limit("the value of a tag is longer than 256 bytes");
        }
        Ok(())
    }
}

/// Tells whether a tag is about one track.
fn is_of_track(tag: &Item<'_>) -> Result<bool, Refusal> {
    let mut children = Cursor::inside(tag);
    while let Some(child) = children.next().map_err(unreadable)? {
        if child.id == id::TARGETS {
            let mut targets = Cursor::inside(&child);
            while let Some(target) = targets.next().map_err(unreadable)? {
                if target.id == id::TAG_TRACK_UID && uint(target.payload).unwrap_or(0) != 0 {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
