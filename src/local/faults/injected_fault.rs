//! Faults that the endpoint injects on request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::local::faults::operation::Operation;

/// A fault that the endpoint injects into a call.
///
/// A fault hits one call; only [`StaleEndpoint`](Self::StaleEndpoint) lasts until GetDataEndpoint is called.
/// Faults of the body apply to GetMedia, GetMediaForFragmentList and GetClip. Of these, PutMedia has
/// [`ResetAfter`](Self::ResetAfter), which counts the bytes of its request, and
/// [`FaultAfter`](Self::FaultAfter), which is an `ERROR` among its acknowledgements. A variant that names an
/// operation applies to that one only. A call of another operation takes the fault without effect.
/// Fragments and bytes are counted from the start of the body. In GetClip, each line of the file counts as
/// a fragment. In GetMedia, the bytes of one [`push_raw`](crate::local::LocalStream::push_raw) count as one too,
/// except for [`Repeat`](Self::Repeat).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectedFault {
    /// Ends the body cleanly after this many bytes, even inside a fragment.
    BreakOff(u64),
    /// Closes the connection after this many bytes, without the end of the HTTP body.
    CutAfter(u64),
    /// Overwrites twelve bytes of the body with zeros, from this offset on.
    DamageAt(u64),
    /// Answers ListFragments with an empty page.
    ///
    /// The page has no member `Fragments`. Its token leads to the fragments that the page should have had.
    EmptyPage,
    /// Ends the body cleanly after this many fragments.
    EndAfter(u64),
    /// Ends a body of GetMedia cleanly before the closing tags of a fragment.
    ///
    /// This many whole fragments precede the cut fragment. The cut fragment looks complete if its sizes are
    /// unknown.
    EndBeforeTrailer(u64),
    /// Reports an error inside the media, then ends the body.
    FaultAfter {
        /// The number of fragments before the error.
        fragments: u64,
        /// The error's id.
        id: u32,
        /// The error's message.
        message: String,
    },
    /// Reports an error in place of one fragment of GetMediaForFragmentList.
    ///
    /// The later fragments of the request follow.
    FaultAt {
        /// The fragment's index in the request, from 0.
        fragment: u64,
        /// The error's id.
        id: u32,
        /// The error's message.
        message: String,
    },
    /// Omits one fragment from the body of GetMediaForFragmentList: its index in the request, from 0.
    Omit(u64),
    /// Refuses the call with this exception, such as `ClientLimitExceededException`.
    ///
    /// The HTTP status is the documented one. For unknown exceptions, it is 400.
    Refuse(String),
    /// Starts a body of GetMedia this many fragments earlier than requested.
    ///
    /// If the stream has fewer earlier fragments, the body starts with its oldest.
    Repeat(u64),
    /// Answers ListFragments with a token that leads to the same page again.
    ///
    /// A page without fragments is answered as usual.
    RepeatPage,
    /// Resets the TCP connection after this many bytes of the body.
    ResetAfter(u64),
    /// Sends the fragments of GetMediaForFragmentList in another order.
    ///
    /// The order depends on this seed only. A single fragment is sent as usual.
    Shuffle(u64),
    /// Pauses the body once.
    Stall {
        /// The number of bytes before the pause.
        after: u64,
        /// The length of the pause.
        pause: Duration,
    },
    /// Refuses this call and later ones with `InvalidEndpointException`.
    ///
    /// Later calls are those of the same operation and stream, until GetDataEndpoint is called for both.
    /// Operations without a data endpoint ignore this fault.
    StaleEndpoint,
    /// Sends the body in small pieces, with a pause before each.
    Trickle {
        /// The largest size of a piece, in bytes. Zero counts as 1.
        bytes: usize,
        /// The pause before each piece.
        pause: Duration,
    },
    /// Answers like a host that does not know the operation: HTTP status 200 and an error in JSON.
    UnknownOperation,
}

/// The faults that no call has taken yet, in the order they were injected.
#[derive(Debug, Default)]
pub(crate) struct PendingFaults {
    waiting: Mutex<VecDeque<(Operation, Option<String>, InjectedFault)>>,
}

impl PendingFaults {
    pub(crate) fn add(&self, operation: Operation, stream: Option<String>, fault: InjectedFault) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, stream, fault));
    }

    /// Takes the first fault for a call of this operation for this stream.
    pub(crate) fn take(&self, operation: Operation, stream: &str) -> Option<InjectedFault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |(waiting, named, _): &(Operation, Option<String>, InjectedFault)| {
            *waiting == operation && named.as_deref().is_none_or(|named| named == stream)
        };
        let index = waiting.iter().position(concerns)?;
        waiting.remove(index).map(|(.., fault)| fault)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
