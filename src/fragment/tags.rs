//! Tags of the producer and of the service.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::service_tags::{SERVICE_PREFIX, ServiceTag};
use crate::ebml::{Cursor, Item, id, uint, without_padding};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// The producer's tags of a fragment, in file order.
///
/// [`Fragment::tags`](crate::Fragment::tags) has the tags before and after the media. The header has
/// only the tags before the media, and the footer those after the media.
/// Nested tags follow their outer tag. Names may repeat.
///
/// Tags that the service added are not included. Methods of [`Fragment`](crate::Fragment) return their
/// values. Tags with reserved names (`AWS_KINESISVIDEO…`) whose name is unknown or whose value cannot
/// be read are in [`reserved`](Tags::reserved).
///
/// ```
/// # use kinesis_video::Tags;
/// # fn f(tags: &Tags) {
/// if tags.get("ContactId").as_deref() == Some("4af1…") {
///     println!("the expected contact");
/// }
/// for tag in tags {
///     println!("{} = {}", tag.name(), tag.value());
/// }
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tags {
    store: Option<Arc<Store>>,
    /// The number of stored entries that belong here. The tags before the media are the first entries.
    length: usize,
}

#[derive(Debug, Default)]
struct Store {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: (u32, u32),
    value: (u32, u32),
    binary: bool,
    reserved: bool,
    after_media: bool,
    track_uid: Option<u64>,
}

impl Tags {
    /// Returns the first text value of the producer's tags with this name.
    ///
    /// Binary values are skipped. Returns `None` if no text remains.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().filter(|tag| tag.name() == name).find_map(|tag| match tag.value() {
            TagValue::Text(text) => Some(text),
            TagValue::Binary(_) => None,
        })
    }

    /// Returns all of the producer's tags with this name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Tag<'a>> + 'a {
        self.iter().filter(move |tag| tag.name() == name)
    }

    /// Returns an iterator over the producer's tags.
    pub fn iter(&self) -> TagsIter<'_> {
        TagsIter { tags: self, next: 0, reserved: false }
    }

    /// Returns the reserved tags that this crate cannot interpret.
    ///
    /// Their names start with `AWS_KINESISVIDEO`. Either the name is unknown, or the value cannot be read.
    pub fn reserved(&self) -> TagsIter<'_> {
        TagsIter { tags: self, next: 0, reserved: true }
    }

    /// Returns the number of the producer's tags.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns true if there are no tags of the producer.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = Tag<'a>;
    type IntoIter = TagsIter<'a>;

    fn into_iter(self) -> TagsIter<'a> {
        self.iter()
    }
}

/// An iterator over [`Tags`], or over the reserved ones.
#[derive(Clone, Debug)]
pub struct TagsIter<'a> {
    tags: &'a Tags,
    next: usize,
    reserved: bool,
}

impl<'a> Iterator for TagsIter<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let store = self.tags.store.as_deref()?;
        let rest = store.entries.get(self.next..self.tags.length)?;
        let skip = rest.iter().position(|entry| entry.reserved == self.reserved)?;
        self.next += skip + 1;
        rest.get(skip).map(|&entry| Tag { store, entry })
    }
}

/// One tag: a name and a value.
#[derive(Clone, Copy)]
pub struct Tag<'a> {
    store: &'a Store,
    entry: Entry,
}

impl<'a> Tag<'a> {
    /// Returns the name, without trailing NULs.
    ///
    /// Invalid UTF-8 is replaced.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.slice(self.entry.name))
    }

    /// Returns the value.
    pub fn value(&self) -> TagValue<'a> {
        let value = self.slice(self.entry.value);
        if self.entry.binary { TagValue::Binary(value) } else { TagValue::Text(String::from_utf8_lossy(value)) }
    }

    /// Returns true if the tag follows the media of its fragment.
    ///
    /// The service places tags there that the producer wrote between this fragment and the next.
    pub fn is_after_media(&self) -> bool {
        self.entry.after_media
    }

    /// Returns the UID of the track that the tag describes.
    ///
    /// Returns `None` if the tag applies to all tracks.
    pub fn track_uid(&self) -> Option<u64> {
        self.entry.track_uid
    }

    fn slice(&self, (start, end): (u32, u32)) -> &'a [u8] {
        self.store.text.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name(), self.value())
    }
}

/// The value of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue<'a> {
    /// A binary value.
    Binary(&'a [u8]),
    /// A text value, without trailing NULs.
    ///
    /// Trailing spaces are kept. Invalid UTF-8 is replaced.
    Text(Cow<'a, str>),
}

/// Writes the text, or the bytes in lower-case hexadecimal.
impl fmt::Display for TagValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Text(text) => f.pad(text),
        }
    }
}

/// Collects the tags of one fragment.
#[derive(Debug, Default)]
pub(crate) struct TagCollector {
    store: Store,
    seen: u32,
    /// The lengths of the store's text and entries before the last Tags element.
    mark: (usize, usize),
}

impl TagCollector {
    /// Reads the payload of the Tags element at `offset` in the body.
    ///
    /// Tags of the service go to `service`, which returns true if it could read the value.
    pub(crate) fn read(
        &mut self,
        payload: &[u8],
        offset: u64,
        after_media: bool,
        limits: &Limits,
        mut service: impl FnMut(ServiceTag, &str) -> bool,
    ) -> Result<()> {
        self.mark = (self.store.text.len(), self.store.entries.len());
        let mut tags = Cursor::new(payload, offset);
        while let Some(tag) = tags.next()? {
            if tag.id != id::TAG {
                continue;
            }
            let mut track_uid = None;
            let mut children = Cursor::inside(&tag);
            while let Some(child) = children.next()? {
                match child.id {
                    id::TARGETS => track_uid = self::track_uid(&child)?,
                    id::SIMPLE_TAG => {
                        let origin = Origin { after_media, track_uid };
                        self.simple_tag(&child, origin, limits, 0, &mut service)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes the tags of the last Tags element, because they belong to the next fragment.
    pub(crate) fn forget_last(&mut self) {
        self.store.text.truncate(self.mark.0);
        self.store.entries.truncate(self.mark.1);
    }

    /// Returns the tags before the media, and all tags.
    pub(crate) fn finish(&mut self) -> (Tags, Tags) {
        if self.store.entries.is_empty() {
            return (Tags::default(), Tags::default());
        }
        let store = std::mem::take(&mut self.store);
        let leading = store.entries.iter().take_while(|entry| !entry.after_media).count();
        let length = store.entries.len();
        let store = Some(Arc::new(store));
        (Tags { store: store.clone(), length: leading }, Tags { store, length })
    }

    fn simple_tag(
        &mut self,
        simple: &Item<'_>,
        origin: Origin,
        limits: &Limits,
        depth: u8,
        service: &mut impl FnMut(ServiceTag, &str) -> bool,
    ) -> Result<()> {
        if depth >= limits.depth {
            let message = format!("tags nest deeper than the {depth} levels of Limits::depth");
            return Err(Error::limit(message).at(simple.offset));
        }
        self.seen += 1;
        if self.seen > limits.tags {
            let message = format!("more than the {} tags of Limits::tags in one fragment", limits.tags);
            return Err(Error::limit(message).at(simple.offset));
        }
        let (mut name, mut value, mut binary): (&[u8], &[u8], _) = (&[], &[], false);
        let (mut children, mut has_inner) = (Cursor::inside(simple), false);
        while let Some(child) = children.next()? {
            match child.id {
                id::TAG_NAME => name = without_padding(child.payload),
                id::TAG_STRING => value = without_padding(child.payload),
                id::TAG_BINARY => (value, binary) = (child.payload, true),
                id::SIMPLE_TAG => has_inner = true,
                _ => {}
            }
        }
        let is_read = match ServiceTag::named(name) {
            Some(tag) => std::str::from_utf8(value).is_ok_and(|value| service(tag, value)),
            None => false,
        };
        if !is_read {
            self.keep(name, value, binary, origin);
        }
        let mut children = Cursor::inside(simple);
        while has_inner && let Some(child) = children.next()? {
            if child.id == id::SIMPLE_TAG {
                self.simple_tag(&child, origin, limits, depth + 1, service)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, name: &[u8], value: &[u8], binary: bool, origin: Origin) {
        if self.store.entries.is_empty() {
            // The service allows a producer ten tags.
            self.store.entries.reserve(10);
            self.store.text.reserve(512);
        }
        let text = &mut self.store.text;
        let mut copy = |bytes: &[u8]| {
            let start = text.len() as u32;
            text.extend_from_slice(bytes);
            (start, text.len() as u32)
        };
        self.store.entries.push(Entry {
            name: copy(name),
            value: copy(value),
            binary,
            reserved: name.starts_with(SERVICE_PREFIX.as_bytes()),
            after_media: origin.after_media,
            track_uid: origin.track_uid,
        });
    }
}

#[derive(Clone, Copy)]
struct Origin {
    after_media: bool,
    track_uid: Option<u64>,
}

fn track_uid(targets: &Item<'_>) -> Result<Option<u64>> {
    let mut children = Cursor::inside(targets);
    while let Some(child) = children.next()? {
        // RFC 9559: 0 means all tracks.
        if child.id == id::TAG_TRACK_UID && uint(child.payload) != Some(0) {
            return Ok(uint(child.payload));
        }
    }
    Ok(None)
}
