//! [`Tail`]: the end of what a program writes to its standard error.

use std::collections::VecDeque;

/// The bytes that are kept.
pub(super) const KEPT: usize = 8 << 10;

/// The lines that an error message has.
const LINES: usize = 3;

/// The last bytes of a text.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..surplus);
        self.is_cut |= surplus > 0;
    }

    /// Returns the text. What is not UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the last lines as one line, for an error message. Empty if there are none.
    pub(super) fn last_lines(&self) -> String {
        let text = self.text();
        // A program that shows its progress ends its lines with carriage returns.
        let lines = text.split(['\n', '\r']).skip(usize::from(self.is_cut)).map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        last.join(" / ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(pieces in proptest::collection::vec(proptest::collection::vec(b' '..b'~', 0..3000), 0..12)) {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece));
            let all = pieces.concat();
            prop_assert_eq!(tail.text().into_bytes(), &all[all.len().saturating_sub(KEPT)..]);
        }

        #[test]
        fn a_message_is_one_line(bytes in proptest::collection::vec(any::<u8>(), 0..KEPT * 2)) {
            let mut tail = Tail::default();
            tail.push(&bytes);
            prop_assert!(!tail.last_lines().contains(char::is_control));
        }
    }

    #[test]
    fn the_last_lines_are_told() {
        let mut tail = Tail::default();
        assert_eq!(tail.last_lines(), "");
        tail.push(b"one\ntwo\n\nframe=1\rframe=2\r\n\x1b[31mfailed\n\n");
        assert_eq!(tail.last_lines(), "frame=1 / frame=2 /  [31mfailed");
        // The line that is cut at its front is not told.
        tail.push(&[b'x'; KEPT - 5]);
        tail.push(b"\nend\n");
        assert_eq!(tail.last_lines(), "end");
    }
}
