//! [`Values`]: the numbers of a sample table, packed until they are written.

/// A list of numbers. Small ones take little memory: a byte for each 7 bits.
#[derive(Debug, Default)]
pub(super) struct Values {
    pages: Vec<Vec<u8>>,
    count: u64,
}

/// The bytes of a page. A list of pages grows without being copied, as a vector would be.
const PAGE: usize = 8 << 10;

/// The most bytes of a packed number.
const LONGEST: usize = 10;

impl Values {
    pub(super) fn push(&mut self, value: u64) {
        self.count += 1;
        match self.pages.last_mut() {
            Some(page) if page.len() + LONGEST <= PAGE => pack(value, page),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                pack(value, &mut page);
                self.pages.push(page);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the numbers as big-endian integers of 4 or 8 bytes, a page at a time.
    pub(super) fn into_bytes(self, width: usize) -> impl Iterator<Item = Vec<u8>> + Send {
        self.pages.into_iter().map(move |page| {
            let mut bytes = Vec::with_capacity(page.len() * width);
            let mut rest = &page[..];
            while let Some(value) = unpack(&mut rest) {
                let value: [u8; 8] = value.to_be_bytes();
                bytes.extend_from_slice(value.get(8 - width.min(8)..).unwrap_or_default());
            }
            bytes
        })
    }
}

fn pack(mut value: u64, page: &mut Vec<u8>) {
    while value >= 0x80 {
        page.push(value as u8 | 0x80);
        value >>= 7;
    }
    page.push(value as u8);
}

fn unpack(rest: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_out_as_they_went_in(numbers in prop::collection::vec(any::<u64>(), 0..3000)) {
            let mut values = Values::default();
            // Numbers of every size.
            let numbers: Vec<u64> = (0..).zip(&numbers).map(|(index, number)| number >> (index % 64)).collect();
            numbers.iter().for_each(|number| values.push(*number));
            prop_assert_eq!(values.len(), numbers.len() as u64);
            let expected: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
            prop_assert_eq!(values.into_bytes(8).collect::<Vec<_>>().concat(), expected);
        }
    }
}
