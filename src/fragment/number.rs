//! Fragment numbers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The number of a fragment, assigned by the service.
///
/// A number has 1 to 128 decimal digits. Parsing other text is an
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument). Real numbers have 47 digits, which fit no integer
/// type, so this type keeps the text. Comparisons and hashes ignore leading zeros. Fragments that were
/// ingested later have larger numbers.
///
/// A number is unique within its stream. Numbers are not consecutive: the difference of two numbers
/// does not tell the number of fragments between them.
///
/// ```
/// use kinesis_video::FragmentNumber;
///
/// let first: FragmentNumber = "91343852333181432392682062607743920146159169392".parse()?;
/// let second: FragmentNumber = "91343852333181432397633822764885441725874549018".parse()?;
/// assert!(first < second);
/// assert!("9".parse::<FragmentNumber>()? < "10".parse()?);
/// assert!("not a number".parse::<FragmentNumber>().is_err());
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone)]
pub struct FragmentNumber(Arc<str>);

impl FragmentNumber {
    /// Returns the digits as the service wrote them.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Creates a number from text that is known to be decimal digits.
    #[cfg(feature = "local")]
    pub(crate) fn from_digits(digits: String) -> Self {
        Self(digits.into())
    }

    /// Returns the digits without copying them.
    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Returns the digits without leading zeros.
    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

impl FromStr for FragmentNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let shown: String = text.chars().take(48).collect();
            let message = format!("{shown:?} is not a fragment number, which has 1 to 128 decimal digits");
            return Err(Error::invalid_argument(message));
        }
        Ok(Self(text.into()))
    }
}

impl Ord for FragmentNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.significant(), other.significant());
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    }
}

impl PartialOrd for FragmentNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FragmentNumber {
    fn eq(&self, other: &Self) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for FragmentNumber {}

impl Hash for FragmentNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_compare_numerically(a in any::<u128>(), b in any::<u128>(), zeros in 0usize..4) {
            let number = |n: u128, zeros: usize| format!("{}{n}", "0".repeat(zeros)).parse::<FragmentNumber>().unwrap();
            prop_assert_eq!(number(a, zeros).cmp(&number(b, 0)), a.cmp(&b));
            prop_assert_eq!(number(a, zeros), number(a, 0));
        }
    }

    #[test]
    fn invalid_numbers_are_rejected() {
        for text in ["", "-1", "1.0", " 1", "1 ", "½", &"9".repeat(129)] {
            assert!(text.parse::<FragmentNumber>().is_err(), "{text:?}");
        }
        assert!("9".repeat(128).parse::<FragmentNumber>().is_ok());
    }
}
