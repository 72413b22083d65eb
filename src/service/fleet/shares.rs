//! How many streams each worker of a fleet should read.

/// A live worker, as its share is computed from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) id: &'a str,
    /// The number of streams that it reads now.
    pub(super) count: usize,
    /// The maximum number of streams that it reads.
    pub(super) max: usize,
}

/// Returns the share of each worker, in the order of `loads`.
///
/// Shares differ by at most one, except where a worker's maximum is smaller. The workers that already read the most
/// get the larger shares, so that no stream moves without need. All workers compute the same shares from the same loads.
pub(super) fn shares(streams: usize, loads: &[Load<'_>]) -> Vec<usize> {
    let total = |level: usize| loads.iter().map(|load| load.max.min(level)).fold(0, usize::saturating_add);
    // The highest level to which all workers can be filled.
    let (mut level, mut too_high) = (0, streams + 1);
    while level + 1 < too_high {
        let middle = level + (too_high - level) / 2;
        if total(middle) <= streams { level = middle } else { too_high = middle }
    }
    let mut shares: Vec<usize> = loads.iter().map(|load| load.max.min(level)).collect();
    let rest = streams - total(level);
    let mut order: Vec<(usize, &Load<'_>)> = loads.iter().enumerate().filter(|(_, load)| load.max > level).collect();
    order.sort_by(|(_, a), (_, b)| b.count.cmp(&a.count).then_with(|| a.id.cmp(b.id)));
    for (index, _) in order.into_iter().take(rest) {
        if let Some(share) = shares.get_mut(index) {
            *share += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_fair_and_complete(
            streams in 0..200_usize,
            workers in proptest::collection::vec((0..50_usize, 0..80_usize), 1..12),
        ) {
            let ids: Vec<String> = (0..workers.len()).map(|index| format!("w{index}")).collect();
            let loads: Vec<Load<'_>> =
                workers.iter().zip(&ids).map(|(&(count, max), id)| Load { id, count, max }).collect();
            let shares = shares(streams, &loads);
            let room: usize = loads.iter().map(|load| load.max).sum();
            prop_assert_eq!(shares.iter().sum::<usize>(), streams.min(room));
            let largest = shares.iter().max().unwrap();
            for (share, load) in shares.iter().zip(&loads) {
                prop_assert!(*share <= load.max);
                prop_assert!(*share == load.max || share + 1 >= *largest);
            }
        }

        /// Workers that have their shares keep them.
        #[test]
        fn shares_stay_as_they_are(streams in 0..200_usize, workers in 1..12_usize, first in 0..12_usize) {
            let ids: Vec<String> = (0..workers).map(|index| format!("w{index}")).collect();
            // The larger shares are anywhere.
            let count = |index: usize| {
                streams / workers + usize::from((index + first) % workers < streams % workers)
            };
            let loads: Vec<Load<'_>> =
                ids.iter().enumerate().map(|(index, id)| Load { id, count: count(index), max: 1000 }).collect();
            let counts: Vec<usize> = loads.iter().map(|load| load.count).collect();
            prop_assert_eq!(shares(streams, &loads), counts);
        }
    }

    #[test]
    fn no_worker_has_no_share() {
        assert_eq!(shares(5, &[]), Vec::<usize>::new());
    }
}
