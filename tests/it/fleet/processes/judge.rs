//! What must hold for the lines that the workers of a fleet have printed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A line of the example `fleet`.
#[derive(Clone, Debug)]
pub struct Line {
    /// In nanoseconds since this machine was started.
    pub at: u64,
    pub worker: String,
    pub epoch: u64,
    pub stream: String,
    pub event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lease was claimed, with the number of the fragment at its checkpoint.
    Claimed(Option<String>),
    Fragment(String),
    /// The work on a lease ended, and the last position was saved.
    Ended(String),
    Unsaved,
}

impl Line {
    /// Reads a line. The last one of a killed worker may be cut.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(6, ' ');
        let mut word = || words.next().map(ToOwned::to_owned);
        let (at, worker, epoch, stream) = (word()?, word()?, word()?, word()?);
        let (event, value) = (word()?, word()?);
        let event = match &event[..] {
            "claimed" => Event::Claimed((value != "-").then_some(value)),
            "fragment" => Event::Fragment(value),
            "ended" => Event::Ended(value),
            "unsaved" => Event::Unsaved,
            _ => return None,
        };
        Some(Self { at: at.parse().ok()?, worker, epoch: epoch.parse().ok()?, stream, event })
    }
}

/// The fragments of each stream, in order.
pub type Pushed = BTreeMap<String, Vec<String>>;

/// Counts of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub fragments: usize,
    pub epochs: usize,
    /// Fragments that were printed again after a takeover.
    pub repeats: usize,
    /// Lines of a smaller epoch after the claim of a larger one.
    pub late: usize,
}

/// Judges all lines. Of each stream, in the order of its epochs:
///
/// - an epoch has one worker;
/// - it begins right after the checkpoint with which it was claimed, and leaves nothing out;
/// - nothing was saved that had not been read;
/// - an epoch that ended with a saved position is followed by one that repeats nothing;
/// - nothing is printed after the claim of the next epoch, but for `allowed_late` lines: a worker that is paused between
///   getting a fragment and printing it cannot know;
/// - in the end, every fragment was read.
pub fn judge(pushed: &Pushed, lines: &[Line], allowed_late: usize) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut streams: BTreeMap<&str, BTreeMap<u64, Vec<&Line>>> = BTreeMap::new();
    for line in lines {
        streams.entry(&line.stream).or_default().entry(line.epoch).or_default().push(line);
    }
    for (stream, numbers) in pushed {
        let index: HashMap<&str, usize> = numbers.iter().enumerate().map(|(at, number)| (&number[..], at)).collect();
        let index = |number: &str| {
            index.get(number).copied().ok_or_else(|| format!("{stream}: {number} was never in the stream"))
        };
        let (mut end, mut read, mut clean) = (0, 0, None);
        for (epoch, mut lines) in streams.remove(&stream[..]).unwrap_or_default() {
            lines.sort_by_key(|line| line.at);
            let name = format!("{stream}, epoch {epoch}");
            let workers: BTreeSet<&String> = lines.iter().map(|line| &line.worker).collect();
            if workers.len() > 1 {
                return Err(format!("{name}: several workers have it: {workers:?}"));
            }
            let Event::Claimed(checkpoint) = &lines[0].event else { return Err(format!("{name}: not claimed first")) };
            tally.epochs += 1;
            tally.late += usize::from(end > lines[0].at);
            let mut next = checkpoint.as_ref().map_or(Ok(0), |number| Ok::<_, String>(index(number)? + 1))?;
            if next > read {
                return Err(format!("{name}: it begins with fragment {next}, but only {read} were read"));
            }
            if clean.is_some_and(|clean| clean != next) {
                return Err(format!("{name}: it begins with fragment {next}, but {clean:?} were read and saved"));
            }
            clean = None;
            for line in &lines[1..] {
                match &line.event {
                    Event::Claimed(_) => return Err(format!("{name}: claimed twice")),
                    Event::Fragment(number) => {
                        let at = index(number)?;
                        if at != next {
                            return Err(format!("{name}: fragment {at} comes where {next} should"));
                        }
                        next += 1;
                        tally.fragments += 1;
                        tally.repeats += usize::from(next <= read);
                        read = read.max(next);
                        end = end.max(line.at);
                    }
                    Event::Ended(_) => clean = Some(next),
                    Event::Unsaved => {}
                }
            }
        }
        if read != numbers.len() {
            return Err(format!("{stream}: {read} of {} fragments were read", numbers.len()));
        }
    }
    match streams.keys().next() {
        Some(stream) => Err(format!("{stream} is no stream")),
        None if tally.late > allowed_late => Err(format!("{} epochs overlap, {tally:?}", tally.late)),
        None => Ok(tally),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &str) -> Result<Tally, String> {
        let pushed = Pushed::from([("s".into(), ["10", "11", "12"].map(Into::into).to_vec())]);
        judge(&pushed, &lines.lines().map(|line| Line::parse(line).unwrap()).collect::<Vec<_>>(), 0)
    }

    /// Two workers; the first is killed.
    const GOOD: &str = "1 a 1 s claimed -\n2 a 1 s fragment 10\n3 a 1 s fragment 11\n9 b 2 s claimed 10\n\
        10 b 2 s fragment 11\n11 b 2 s fragment 12\n12 b 2 s ended lease released";

    #[test]
    fn each_rule_notices_a_violation() {
        assert_eq!(judged(GOOD), Ok(Tally { fragments: 4, epochs: 2, repeats: 1, late: 0 }));
        for (from, to, expected) in [
            ("11 b 2 s fragment 12\n", "", "s: 2 of 3 fragments were read"),
            ("10 b 2 s fragment 11\n", "", "s, epoch 2: fragment 2 comes where 1 should"),
            ("claimed 10", "claimed 12", "s, epoch 2: it begins with fragment 3, but only 2 were read"),
            ("3 a 1 s fragment 11\n", "10 a 1 s fragment 11\n", "1 epochs overlap"),
            ("10 b 2", "10 c 2", "s, epoch 2: several workers have it"),
            (
                "9 b",
                "4 a 1 s ended lease released\n9 b",
                "s, epoch 2: it begins with fragment 1, but Some(2) were read",
            ),
            ("fragment 12", "fragment 13", "s: 13 was never in the stream"),
            ("12 b 2 s", "12 b 2 t", "t is no stream"),
            ("1 a 1 s claimed -\n", "", "s, epoch 1: not claimed first"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = judged(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(Line::parse("12 b 2 s fragm").is_none() && Line::parse("12").is_none());
    }
}
