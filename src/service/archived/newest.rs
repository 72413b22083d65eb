//! [`FragmentList::newest`]: finding the newest fragment without listing all.

use std::cmp::Ordering;

use super::list::{FragmentList, Listing, MAX_BARREN_PAGES, barren};
use super::millis_range::{DAY, MillisRange};
use super::{Clock, FragmentInfo};
use crate::error::{ErrorKind, Result};
use crate::fragment::Timestamp;

/// The length of the first window, in milliseconds. A stream that is sending has a fragment in it.
const FIRST_WINDOW: i64 = 60_000;

/// The factor by which windows grow.
const GROWTH: i64 = 8;

/// The length from which a window is listed to its end, in milliseconds. It has few fragments.
const SHORT: i64 = 1000;

impl FragmentList {
    /// Finds the stored fragment with the latest start on the [clock](FragmentList::clock).
    ///
    /// Of several such fragments, it is the one with the largest number. `None` if nothing is stored in the
    /// [range](FragmentList::range). The order and the prefetch are ignored.
    ///
    /// Default range: all that is stored. Fragments that start after now are found too, since clocks differ: up to a
    /// day after now on the [server's clock](Clock::Server), and up to ten years on the producer's.
    ///
    /// # Calls
    /// ListFragments has no order, so windows of time are listed backwards from the end: first a minute, then eight
    /// times more each time. A window with more than one page is halved until a page has all of its later half.
    ///
    /// | newest fragment | calls of ListFragments |
    /// |---|---|
    /// | in the last minute | 1 |
    /// | in the last 8 hours, one fragment per second | up to 10 |
    /// | in the last week, one fragment per second | up to 20 |
    /// | any | at most 45, and one more for each page without fragments |
    ///
    /// If the first window is empty, one call of DescribeStream checks the retention.
    ///
    /// # Errors
    /// Fails as [`entries`](FragmentList::entries) does.
    ///
    /// # Cancel safety
    /// Dropping the future ends the search. Nothing is sent before it is polled.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::KinesisVideo;
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
    /// door.push(&document);
    /// let last = door.push(&document);
    ///
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// let newest = kvs.list_fragments("door").newest().await?.expect("two are stored");
    /// assert_eq!(newest.number(), &last.number);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub async fn newest(self) -> Result<Option<FragmentInfo>> {
        let listing = self.listing;
        listing.find_newest().await.map_err(|error| error.of_stream(listing.stream.as_str()))
    }
}

impl Listing {
    async fn find_newest(&self) -> Result<Option<FragmentInfo>> {
        self.check()?;
        let mut search = match self.range.as_ref().map(MillisRange::of) {
            Some(range) => Search::new(self.clock, range, FIRST_WINDOW),
            None => {
                let ahead = match self.clock {
                    Clock::Producer => 3653 * DAY,
                    Clock::Server => DAY,
                };
                let time = self.client.archived.config().time_source().unwrap_or_default();
                let now = Timestamp::from(time.now()).as_millis();
                let everything = MillisRange { start: 0, end: now.saturating_add(ahead) };
                Search::new(self.clock, everything, FIRST_WINDOW.saturating_add(ahead))
            }
        };
        self.settle().await;
        let mut is_first = true;
        while let Some(window) = search.window() {
            let found = match self.look(window, search.reads_all()).await {
                // Older windows have nothing either.
                Err(error) if error.kind() == ErrorKind::Retention && !is_first => break,
                found => found?,
            };
            if is_first && found.newest.is_none() {
                self.check_retention().await?;
            }
            is_first = false;
            search.add(found);
        }
        Ok(search.newest)
    }

    /// Lists a window: all of it, or up to the first page that has fragments.
    async fn look(&self, window: MillisRange, reads_all: bool) -> Result<Found> {
        let listing = Self { range: Some(window.to_range()), ..self.clone() };
        let (mut newest, mut barren_pages) = (None, 0);
        let mut token = None;
        loop {
            let page = listing.page(token).await?;
            let before = newest.clone();
            newest = page.infos.into_iter().chain(newest).max_by(|a, b| later(self.clock, a, b));
            token = page.token;
            if token.is_none() || (newest.is_some() && !reads_all) {
                return Ok(Found { newest, is_complete: token.is_none() });
            }
            barren_pages = if newest == before { barren_pages + 1 } else { 0 };
            if barren_pages >= MAX_BARREN_PAGES {
                return Err(barren());
            }
        }
    }
}

fn later(clock: Clock, a: &FragmentInfo, b: &FragmentInfo) -> Ordering {
    (a.time(clock), a.number()).cmp(&(b.time(clock), b.number()))
}

/// The newest of the listed fragments of a window.
#[derive(Clone, Debug)]
struct Found {
    newest: Option<FragmentInfo>,
    /// All of the window's fragments were listed.
    is_complete: bool,
}

/// Chooses the windows to list. Free of I/O.
#[derive(Debug)]
struct Search {
    clock: Clock,
    state: State,
    /// The newest of all fragments that were listed.
    newest: Option<FragmentInfo>,
}

#[derive(Debug)]
enum State {
    /// Nothing was found so far. The next window ends at `end`, and nothing before `first` is asked for.
    Backwards {
        first: i64,
        end: i64,
        length: i64,
    },
    /// The newest fragment is in this window, which is longer than [`SHORT`].
    Narrowing(MillisRange),
    /// All fragments of this window are to be listed.
    Short(MillisRange),
    Done,
}

impl Search {
    fn new(clock: Clock, range: MillisRange, length: i64) -> Self {
        Self { clock, state: State::Backwards { first: range.start, end: range.end, length }, newest: None }
    }

    /// Returns the next window to list, or `None` at the end of the search.
    fn window(&self) -> Option<MillisRange> {
        match self.state {
            State::Backwards { first, end, .. } if end < first => None,
            State::Backwards { first, end, length } => {
                Some(MillisRange { start: end.saturating_sub(length).max(first), end })
            }
            State::Narrowing(window) => {
                let half = window.start + window.millis() / 2 + 1;
                // The newest fragment so far may be after the middle.
                Some(MillisRange { start: self.known(window).unwrap_or(half).max(half), ..window })
            }
            State::Short(window) => Some(window),
            State::Done => None,
        }
    }

    /// Returns whether the window is to be listed to its end.
    fn reads_all(&self) -> bool {
        matches!(self.state, State::Short(_))
    }

    /// Takes what was found in the window.
    fn add(&mut self, found: Found) {
        let Some(window) = self.window() else { return };
        let is_empty = found.newest.is_none();
        let clock = self.clock;
        self.newest = found.newest.into_iter().chain(self.newest.take()).max_by(|a, b| later(clock, a, b));
        self.state = match self.state {
            State::Backwards { first, length, .. } if is_empty => {
                State::Backwards { first, end: window.start.saturating_sub(1), length: length.saturating_mul(GROWTH) }
            }
            State::Narrowing(all) if is_empty => self.narrow(MillisRange { start: all.start, end: window.start - 1 }),
            State::Backwards { .. } | State::Narrowing(_) if !found.is_complete => self.narrow(window),
            _ => State::Done,
        };
    }

    /// Returns the next state if the newest fragment is in the window.
    fn narrow(&self, window: MillisRange) -> State {
        let start = self.known(window).unwrap_or(window.start);
        if window.end - start > SHORT {
            State::Narrowing(window)
        } else {
            State::Short(MillisRange { start, ..window })
        }
    }

    /// Returns the time of the newest fragment so far, moved into the window.
    fn known(&self, window: MillisRange) -> Option<i64> {
        let time = self.newest.as_ref()?.time(self.clock)?;
        Some(time.as_millis().clamp(window.start, window.end))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesisvideoarchivedmedia::types::Fragment as ListedFragment;
    use aws_smithy_types::date_time::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn info(number: u32, millis: i64) -> FragmentInfo {
        let listed = ListedFragment::builder().fragment_number(format!("{number:020}"));
        FragmentInfo::read(listed.server_timestamp(DateTime::from_millis(millis)).build()).unwrap()
    }

    /// Searches these fragments, and returns the newest and how many pages were read.
    ///
    /// Pages have the fragments in the order in which they are given.
    fn search(
        infos: &[FragmentInfo],
        range: MillisRange,
        length: i64,
        page_size: usize,
    ) -> (Option<FragmentInfo>, u32) {
        let mut search = Search::new(Clock::Server, range, length);
        let mut pages = 0;
        while let Some(window) = search.window() {
            let is_in = |info: &&FragmentInfo| {
                let millis = info.server_time().unwrap().as_millis();
                (window.start..=window.end).contains(&millis)
            };
            let all: Vec<_> = infos.iter().filter(is_in).collect();
            let listed = if search.reads_all() { &all[..] } else { &all[..all.len().min(page_size)] };
            let newest = listed.iter().copied().max_by(|a, b| later(Clock::Server, a, b)).cloned();
            pages += 1 + listed.len().saturating_sub(1) as u32 / page_size as u32;
            search.add(Found { newest, is_complete: listed.len() == all.len() });
            assert!(pages < 10_000, "the search does not end");
        }
        (search.newest, pages)
    }

    /// Searches a recording with a fragment per second that ends at `last`, and returns how many pages were read.
    ///
    /// A page has up to 1000 fragments: the oldest ones first, or the newest ones.
    fn search_recording(last: i64, range: MillisRange, length: i64, newest_first: bool) -> u32 {
        let mut search = Search::new(Clock::Server, range, length);
        let mut pages = 0;
        while let Some(window) = search.window() {
            let end = last - (last - window.end + 999).max(0) / 1000 * 1000;
            let count = (end - window.start).div_euclid(1000) + 1;
            let page = count.clamp(0, if search.reads_all() { i64::MAX } else { 1000 });
            let time = if newest_first { end } else { end - (count - page) * 1000 };
            pages += 1 + (page / 1000 - 1).max(0) as u32;
            search.add(Found { newest: (page > 0).then(|| info(1, time)), is_complete: page == count.max(0) });
        }
        assert_eq!(search.newest, Some(info(1, last)));
        pages
    }

    #[test]
    fn a_search_takes_as_many_calls_as_documented() {
        let now = 1_800_000_000_000;
        let everything = MillisRange { start: 0, end: now + DAY };
        for (age, most) in [(0, 1), (59_000, 1), (8 * 3_600_000, 10), (7 * DAY, 20)] {
            for newest_first in [true, false] {
                let pages = search_recording(now - age, everything, FIRST_WINDOW + DAY, newest_first);
                assert!(pages <= most, "{pages} for an age of {age} ms");
            }
        }
        // Nothing is stored.
        assert_eq!(search(&[], everything, FIRST_WINDOW + DAY, 1000), (None, 6));
        let everything = MillisRange { start: 0, end: now };
        assert_eq!(search(&[], everything, FIRST_WINDOW, 1000), (None, 10));
        // The worst case: a page of one fragment, and all of them at the very beginning.
        let infos: Vec<_> = (0..2).map(|n| info(n, i64::from(n) * 1001)).collect();
        let (newest, pages) = search(&infos, everything, FIRST_WINDOW, 1);
        assert_eq!(newest.as_ref(), infos.last());
        assert!(pages <= 45, "{pages}");
    }

    proptest! {
        #[test]
        fn the_newest_is_found(
            times in proptest::collection::vec((0..200_i64, 0..20_i64, 0..3_i64), 0..60),
            (start, length) in (0..200_i64, 0..200_i64),
            first in 1..100_000_i64,
            page_size in 1..10_usize,
        ) {
            // Times at several scales, so that there are gaps, crowds and equal times.
            let infos: Vec<_> = (0..).zip(&times).map(|(n, (a, b, c))| info(n, a * 1_000_000 + b * 500 + c)).collect();
            let range = MillisRange { start: start * 1_000_000, end: (start + length) * 1_000_000 };
            let is_in = |info: &&FragmentInfo| {
                (range.start..=range.end).contains(&info.server_time().unwrap().as_millis())
            };
            let expected = infos.iter().filter(is_in).max_by(|a, b| later(Clock::Server, a, b));
            let (newest, _) = search(&infos, range, first, page_size);
            prop_assert_eq!(newest.as_ref(), expected);
        }
    }
}
