//! [`ConnectAudio`]: fragments to the audio of calls.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::placement::{MOST_NAMED, Placement};
use super::{AudioChunk, Party, samples_in};
use crate::accessors::inner_accessors;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Fragment;

/// Why the audio of a call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContactEnd {
    /// The media ended.
    EndOfMedia,
    /// The stream failed; the error was the last item.
    Failed,
    /// Another contact began: this one.
    NextContact(Arc<str>),
}

pin_project! {
    /// Stream of the audio of calls, from [`connect_audio`](crate::FragmentStreamExt::connect_audio).
    ///
    /// Chunks come as their blocks stand, both parties in turn; those of one party continue each other without
    /// holes from position 0 of each contact on.
    ///
    /// # Errors
    /// Those of the fragment stream; a fragment whose tracks are none of Amazon Connect; with
    /// [`contact`](ConnectAudio::contact), if that never appeared. After an error the stream is at its end.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// The samples of one fragment, and one that was cut until the next has come; at the start of a stream, up to 8
    /// fragments that do not say which contact they are of, or with [`contact`](ConnectAudio::contact) four megabytes of
    /// them. Holes take none.
    #[must_use = "streams do nothing unless polled"]
    pub struct ConnectAudio<S> {
        #[pin]
        fragments: S,
        placement: Placement,
        party: Option<Party>,
        has_begun: bool,
        has_all: bool,
        failure: Option<Error>,
        end: Option<ContactEnd>,
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
            end: None,
        }
    }

    /// Only the audio of this contact. The stream ends when another begins behind it; [`end`](ConnectAudio::end) tells
    /// which. If it never appeared, the stream ends with an error that names those that did.
    ///
    /// At the start of a stream, fragments that do not say which contact they are of are kept until one does, up to four
    /// megabytes of them; what is more belongs to none.
    pub fn contact(mut self, id: impl Into<Arc<str>>) -> Self {
        self.placement.wanted = Some(id.into());
        self
    }

    /// Only the audio of one party. Its positions stay those of the contact.
    pub fn party(mut self, party: Party) -> Self {
        self.party = Some(party);
        self
    }

    /// How long a silence of both parties may be. What is more is left out, of both, and reported. By default nothing is.
    pub fn max_silence(mut self, longest: Duration) -> Self {
        self.placement.max_silence = Some(samples_in(longest));
        self
    }

    /// Why the stream has ended. `None` as long as it has not.
    pub fn end(&self) -> Option<&ContactEnd> {
        self.end.as_ref()
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
        while this.end.is_none() {
            if let Some(chunk) = this.placement.front() {
                let is_of_other = this.placement.wanted.is_some() && chunk.contact != this.placement.wanted;
                if let (true, true, Some(next)) = (is_of_other, *this.has_begun, &chunk.contact) {
                    *this.end = Some(ContactEnd::NextContact(Arc::clone(next)));
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
                *this.end = Some(ContactEnd::Failed);
                return Poll::Ready(Some(Err(error)));
            }
            if *this.has_all {
                let named = this.placement.named();
                let is_missing = |wanted: &&Arc<str>| !*this.has_begun && !named.contains(wanted);
                return Poll::Ready(match this.placement.wanted.as_ref().filter(is_missing) {
                    Some(wanted) => {
                        *this.end = Some(ContactEnd::Failed);
                        Some(Err(never_appeared(wanted, named)))
                    }
                    None => {
                        *this.end = Some(ContactEnd::EndOfMedia);
                        None
                    }
                });
            }
            let placed = match ready!(this.fragments.as_mut().poll_next(cx)) {
                Some(Ok(fragment)) => this.placement.push(fragment),
                Some(Err(error)) => this.placement.finish().and(Err(error)),
                None => {
                    *this.has_all = true;
                    this.placement.finish()
                }
            };
            *this.failure = placed.err();
        }
        Poll::Ready(None)
    }
}

fn never_appeared(contact: &str, seen: &[Arc<str>]) -> Error {
    let named: Vec<_> = seen.iter().take(MOST_NAMED).map(|id| format!("{id:?}")).collect();
    let others = match seen.len() {
        0 => "no other did".to_owned(),
        more if more > MOST_NAMED => format!("{} and more did", named.join(", ")),
        _ => format!("{} did", named.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("the contact {contact:?} never appeared; {others}"))
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for ConnectAudio<S> {
    fn is_terminated(&self) -> bool {
        self.end.is_some()
    }
}

impl<S: fmt::Debug> fmt::Debug for ConnectAudio<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAudio")
            .field("fragments", &self.fragments)
            .field("contact", &self.placement.wanted)
            .field("party", &self.party)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
