//! What can go wrong, on purpose.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::local::faults::operation::Operation;

/// Something that goes wrong with one call. Those about a body concern the operations that have one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectedFault {
    /// The body ends behind so many bytes, properly as far as HTTP goes, but as likely as not in the
    /// middle of a fragment.
    BreakOff(u64),
    /// The body is closed behind so many bytes, without its proper end: the connection is broken.
    CutAfter(u64),
    /// The twelve bytes at this offset of the body are overwritten with zeros.
    DamageAt(u64),
    /// A page of ListFragments has no fragments, not even the member for them, but a token with which the
    /// listing goes on in the same place.
    EmptyPage,
    /// The body ends, properly, behind so many fragments.
    EndAfter(u64),
    /// A body of GetMedia ends, properly, behind so many fragments and another one of which all came but the
    /// closing tags: without those it looks whole where sizes are unknown.
    EndBeforeTrailer(u64),
    /// Behind so many fragments the body reports this error inside the media, and ends.
    FaultAfter {
        /// How many fragments come first.
        fragments: u64,
        /// The number of the error.
        id: u32,
        /// What it says.
        message: String,
    },
    /// In a body of GetMediaForFragmentList an error is reported in the place of one fragment; the others
    /// follow.
    FaultAt {
        /// The place of the fragment in the request, from 0.
        fragment: u64,
        /// The number of the error.
        id: u32,
        /// What it says.
        message: String,
    },
    /// A body of GetMediaForFragmentList silently leaves out the fragment with this place in the request,
    /// from 0.
    Omit(u64),
    /// The call is refused with the error of this name: `ClientLimitExceededException` for example.
    Refuse(String),
    /// A body of GetMedia begins so many fragments earlier than was asked for, as far as there are any:
    /// they are sent again.
    Repeat(u64),
    /// The token that comes with a page of ListFragments leads to that page again: its fragments are listed
    /// twice.
    RepeatPage,
    /// The connection is reset behind so many bytes of the body.
    ResetAfter(u64),
    /// The fragments of a body of GetMediaForFragmentList come in another order than they were asked for,
    /// which this number decides.
    Shuffle(u64),
    /// Nothing comes for so long behind so many bytes of the body.
    Stall {
        /// How many bytes come first.
        after: u64,
        /// How long nothing comes.
        pause: Duration,
    },
    /// The call, and those of the same operation that follow, are refused with `InvalidEndpointException`,
    /// until GetDataEndpoint is asked again for that operation. It is for those that it gives endpoints for.
    StaleEndpoint,
    /// The body comes in pieces of so many bytes, with a pause before each.
    Trickle {
        /// The size of a piece.
        bytes: usize,
        /// The pause before it.
        pause: Duration,
    },
    /// The answer is that of a host that does not know the operation: success, and an error in JSON.
    UnknownOperation,
}

/// Mishaps that wait for their call.
#[derive(Debug, Default)]
pub(crate) struct PendingFaults {
    waiting: Mutex<VecDeque<(Operation, Option<String>, InjectedFault)>>,
}

impl PendingFaults {
    pub(crate) fn add(&self, operation: Operation, stream: Option<String>, fault: InjectedFault) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, stream, fault));
    }

    /// The next mishap for a call of this operation for this stream.
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
