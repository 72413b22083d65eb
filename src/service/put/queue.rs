//! [`Queue`]: what is sent when, and what is kept until it is persisted. Free of I/O and clocks.

use std::collections::VecDeque;

use bytes::Bytes;

use super::encode::Encoded;

/// The fragments that are not known to be persisted, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The current connection. Earlier ones may still ask for fragments.
    connection: u64,
    /// The head and the time that the current connection sent last.
    last: Option<(Bytes, i64)>,
    closing: bool,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    encoded: Encoded,
    /// True if the current connection has begun to send it.
    is_sent: bool,
    /// True if any connection has begun to send it.
    was_sent: bool,
}

/// The totals of a sink.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) persisted: u64,
    pub(super) persisted_bytes: u64,
    pub(super) repeated: u64,
    pub(super) connections: u64,
}

/// What a connection does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Sends the parts: the head of the document, if it is the first, and a fragment.
    Send([Bytes; 2]),
    /// Waits for another fragment.
    Wait,
    /// Ends its body.
    End,
}

impl Queue {
    pub(super) fn push(&mut self, encoded: Encoded) {
        self.bytes += encoded.data.len();
        self.counts.taken += 1;
        self.entries.push_back(Entry { encoded, is_sent: false, was_sent: false });
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the time of the first fragment, in milliseconds.
    pub(super) fn first_timecode(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.encoded.timecode)
    }

    /// Begins a connection, which sends everything that is kept. Returns its number.
    pub(super) fn connect(&mut self) -> u64 {
        self.connection += 1;
        self.counts.connections += 1;
        self.last = None;
        for entry in &mut self.entries {
            entry.is_sent = false;
        }
        self.connection
    }

    /// Ends the current connection. It gets no more fragments.
    pub(super) fn disconnect(&mut self) {
        self.connection += 1;
    }

    /// Returns whether the current connection has sent fragments that are not persisted.
    pub(super) fn has_sent(&self) -> bool {
        self.entries.iter().any(|entry| entry.is_sent)
    }

    /// Returns what a connection does next.
    pub(super) fn next(&mut self, connection: u64) -> Next {
        if connection != self.connection {
            return Next::End;
        }
        let has_sent = self.has_sent();
        let Some(entry) = self.entries.iter_mut().find(|entry| !entry.is_sent) else {
            // The service persists the last fragment without the end of the body.
            return if self.closing && self.entries.is_empty() { Next::End } else { Next::Wait };
        };
        let Encoded { timecode, head, data, .. } = &entry.encoded;
        let first = match &self.last {
            None => head.clone(),
            // The service refuses a time that is not later, and other tracks need another document. The body ends when
            // all before it is persisted.
            Some((last_head, last)) if last_head != head || *timecode <= *last => {
                return if has_sent { Next::Wait } else { Next::End };
            }
            Some(_) => Bytes::new(),
        };
        self.last = Some((head.clone(), *timecode));
        self.counts.repeated += u64::from(entry.was_sent);
        (entry.is_sent, entry.was_sent) = (true, true);
        Next::Send([first, data.clone()])
    }

    /// Forgets the fragment with this time, which the service has persisted. Returns whether there was one.
    pub(super) fn persisted(&mut self, timecode: i64) -> bool {
        let at = self.entries.iter().position(|entry| entry.is_sent && entry.encoded.timecode == timecode);
        let Some(entry) = at.and_then(|at| self.entries.remove(at)) else { return false };
        self.bytes -= entry.encoded.data.len();
        self.counts.persisted += 1;
        self.counts.persisted_bytes += entry.encoded.data.len() as u64;
        true
    }

    /// Returns the number of the fragment that was sent with this time.
    pub(super) fn number_of(&self, timecode: i64) -> Option<&str> {
        let sent = self.entries.iter().find(|entry| entry.is_sent && entry.encoded.timecode == timecode)?;
        sent.encoded.number.as_ref().map(crate::fragment::FragmentNumber::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(timecode: i64, head: &'static [u8]) -> Encoded {
        let data = timecode.to_be_bytes().to_vec().into();
        Encoded { number: None, timecode, head: Bytes::from_static(head), data }
    }

    fn sent(queue: &mut Queue, connection: u64) -> Result<(bool, i64), &'static str> {
        match queue.next(connection) {
            Next::Send([head, data]) => Ok((!head.is_empty(), i64::from_be_bytes(data[..].try_into().unwrap()))),
            Next::Wait => Err("wait"),
            Next::End => Err("end"),
        }
    }

    #[test]
    fn a_new_connection_sends_again_what_is_not_persisted() {
        let mut queue = Queue::default();
        (1..=4).for_each(|timecode| queue.push(encoded(timecode, b"head")));
        let first = queue.connect();
        assert_eq!(
            (1..=3).map(|_| sent(&mut queue, first)).collect::<Vec<_>>(),
            [Ok((true, 1)), Ok((false, 2)), Ok((false, 3))]
        );
        assert!(queue.persisted(2) && !queue.persisted(2) && !queue.persisted(4));
        let second = queue.connect();
        assert_eq!(sent(&mut queue, first), Err("end"));
        let expected = [Ok((true, 1)), Ok((false, 3)), Ok((false, 4)), Err("wait")];
        assert_eq!([(); 4].map(|()| sent(&mut queue, second)), expected);
        assert_eq!((queue.counts().repeated, queue.bytes(), queue.len()), (2, 24, 3));
        queue.close();
        assert_eq!(sent(&mut queue, second), Err("wait"));
        assert!([1, 3, 4].into_iter().all(|timecode| queue.persisted(timecode)));
        assert_eq!((sent(&mut queue, second), queue.bytes(), queue.counts().persisted), (Err("end"), 0, 4));
    }

    #[test]
    fn other_tracks_and_earlier_times_begin_a_connection() {
        for next in [encoded(2, b"other"), encoded(1, b"head"), encoded(0, b"head")] {
            let timecode = next.timecode;
            let mut queue = Queue::default();
            queue.push(encoded(1, b"head"));
            queue.push(next);
            let first = queue.connect();
            assert_eq!([(); 2].map(|()| sent(&mut queue, first)), [Ok((true, 1)), Err("wait")]);
            assert!(queue.has_sent() && queue.persisted(1) && !queue.has_sent());
            assert_eq!(sent(&mut queue, first), Err("end"));
            let second = queue.connect();
            assert_eq!([(); 2].map(|()| sent(&mut queue, second)), [Ok((true, timecode)), Err("wait")]);
        }
    }
}
