//! [`ConnectAudio`]: a stream of fragments becomes a stream of audio chunks.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::placement::{MAX_LISTED, Placement};
use super::{AudioChunk, Party, samples_in};
use crate::accessors::inner_accessors;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Fragment;

/// The reason why a [`ConnectAudio`] stream has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContactEnd {
    /// The media ended.
    EndOfMedia,
    /// The stream failed. The error was its last item.
    Failed,
    /// Another contact began after the [selected](ConnectAudio::contact) one. Holds the id of the other contact.
    NextContact(Arc<str>),
}

pin_project! {
    /// A stream of the audio of Amazon Connect conversations.
    ///
    /// Made by [`connect_audio`](crate::FragmentStreamExt::connect_audio). It yields [`AudioChunk`]s of both parties.
    ///
    /// - Chunks are ordered by time across both parties, so the parties alternate.
    /// - The chunks of one party have no holes between them: holes are filled with silence.
    /// - Silence is yielded right before the audio that ends the hole, so it may start before chunks already yielded.
    /// - Each contact starts at position 0.
    ///
    /// # Errors
    /// - Errors of the fragment stream.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if a fragment has tracks, but no track of Amazon Connect.
    /// - [`NotFound`](crate::ErrorKind::NotFound), at the end of the media, if the
    ///   [selected](ConnectAudio::contact) contact never appeared.
    ///
    /// After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    ///
    /// | buffered | until |
    /// |---|---|
    /// | the audio of one fragment | it is yielded |
    /// | one fragment that was cut before its contact id | the next fragment arrives |
    /// | at the start: 8 fragments, or 4 MiB with [`contact`](ConnectAudio::contact) | the first contact id arrives |
    ///
    /// Silence takes no memory, however long it is.
    #[must_use = "streams do nothing unless polled"]
    pub struct ConnectAudio<S> {
        #[pin]
        fragments: S,
        placement: Placement,
        party: Option<Party>,
        has_begun: bool,
        has_all: bool,
        failure: Option<Error>,
        end_reason: Option<ContactEnd>,
    }
}

impl<S> ConnectAudio<S> {
    pub(crate) fn new(fragments: S) -> Self {
        Self {
            fragments,
            placement: Placement::new(),
            party: None,
            has_begun: false,
            has_all: false,
            failure: None,
            end_reason: None,
        }
    }

    /// Selects one contact. Default: all contacts.
    ///
    /// After the selected contact, the stream ends when the audio of another contact begins.
    /// [`end_reason`](ConnectAudio::end_reason) then has the id of the other contact. If the selected contact never
    /// appears, the last item is an error that lists up to 8 contact ids of the stream.
    ///
    /// At the start of a stream, fragments are buffered until the first contact id arrives. When 4 MiB arrive before a
    /// contact id, everything before the id is treated as belonging to no contact and is not yielded.
    pub fn contact(mut self, id: impl Into<Arc<str>>) -> Self {
        self.placement.wanted = Some(id.into());
        self
    }

    /// Selects one party. Default: both.
    ///
    /// Positions still count from the start of the contact, whichever party spoke first.
    pub fn party(mut self, party: Party) -> Self {
        self.party = Some(party);
        self
    }

    /// Limits the silence that fills a hole in the audio of both parties. Default: unlimited.
    ///
    /// The rest of a longer hole is left out for both parties and reported as [`AudioDiscontinuity::LeftOut`]. A hole
    /// of one party alone, and recorded silence, keep their length. A limit below one sample counts as one sample.
    ///
    /// [`AudioDiscontinuity::LeftOut`]: super::AudioDiscontinuity::LeftOut
    pub fn max_silence(mut self, longest: Duration) -> Self {
        self.placement.max_silence = Some(samples_in(longest));
        self
    }

    /// Returns why the stream has ended, or `None` if it has not.
    pub fn end_reason(&self) -> Option<&ContactEnd> {
        self.end_reason.as_ref()
    }

    inner_accessors!(
        fragments: S,
        "fragment stream",
        "Audio of the current fragment that was not yielded yet is lost."
    );
}

impl<S: Stream<Item = Result<Fragment>>> Stream for ConnectAudio<S> {
    type Item = Result<AudioChunk>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while this.end_reason.is_none() {
            if let Some(chunk) = this.placement.front() {
                let is_of_other = this.placement.wanted.is_some() && chunk.contact != this.placement.wanted;
                if let (true, true, Some(next)) = (is_of_other, *this.has_begun, &chunk.contact) {
                    *this.end_reason = Some(ContactEnd::NextContact(Arc::clone(next)));
                    continue;
                }
                let is_heard = this.party.is_none_or(|party| party == chunk.party);
                *this.has_begun |= !is_of_other;
                if is_of_other || !is_heard {
                    this.placement.drop_front();
                    continue;
                }
                return Poll::Ready(this.placement.pop().map(Ok));
            }
            if let Some(error) = this.failure.take() {
                *this.end_reason = Some(ContactEnd::Failed);
                return Poll::Ready(Some(Err(error)));
            }
            if *this.has_all {
                let named = this.placement.named();
                let is_missing = |wanted: &&Arc<str>| !*this.has_begun && !named.contains(wanted);
                return Poll::Ready(match this.placement.wanted.as_ref().filter(is_missing) {
                    Some(wanted) => {
                        *this.end_reason = Some(ContactEnd::Failed);
                        Some(Err(never_appeared(wanted, named)))
                    }
                    None => {
                        *this.end_reason = Some(ContactEnd::EndOfMedia);
                        None
                    }
                });
            }
            match ready!(this.fragments.as_mut().poll_next(cx)) {
                Some(Ok(fragment)) => *this.failure = this.placement.push(fragment).err(),
                Some(Err(error)) => {
                    this.placement.finish();
                    *this.failure = Some(error);
                }
                None => {
                    *this.has_all = true;
                    this.placement.finish();
                }
            }
        }
        Poll::Ready(None)
    }
}

fn never_appeared(contact: &str, seen: &[Arc<str>]) -> Error {
    let named: Vec<_> = seen.iter().take(MAX_LISTED).map(|id| format!("{id:?}")).collect();
    let others = match seen.len() {
        0 => "no contact".to_owned(),
        more if more > MAX_LISTED => format!("{} and more", named.join(", ")),
        _ => named.join(", "),
    };
    Error::new(ErrorKind::NotFound, format!("the contact {contact:?} never appeared; the stream names {others}"))
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for ConnectAudio<S> {
    fn is_terminated(&self) -> bool {
        self.end_reason.is_some()
    }
}

impl<S: fmt::Debug> fmt::Debug for ConnectAudio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAudio")
            .field("fragments", &self.fragments)
            .field("contact", &self.placement.wanted)
            .field("party", &self.party)
            .field("end_reason", &self.end_reason)
            .finish_non_exhaustive()
    }
}
