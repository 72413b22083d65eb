//! [`Archive::fragment_at`]: reading the fragment that contains a time.

use async_stream::try_stream;
use futures::{Stream, TryStreamExt};
use tracing::Instrument;

use super::{Archive, Selection, number_and_size};
use crate::error::Result;
#[cfg(feature = "ffmpeg")]
use crate::fragment::Clock;
use crate::fragment::{Fragment, Timestamp};
use crate::service::archived::Order;
use crate::service::archived::list::Listing;
use crate::service::archived::millis_range::{MillisRange, ceil_millis};

/// The maximum duration of a fragment, in milliseconds.
const MAX_DURATION: i64 = 20_000;

impl Archive {
    /// Reads the fragment that contains a time.
    ///
    /// It is the fragment with the latest start at or before the time, on the [clock](Archive::clock). Of several with
    /// the same start, it is the one with the largest number. `None` if no fragment starts in the 20 s up to the time,
    /// which is the maximum duration of a fragment. The fragment may have ended before the time: add its
    /// [duration](Fragment::duration) to its start to find out.
    ///
    /// A fragment that is still being received is not listed. [`range`](Archive::range), [`numbers`](Archive::numbers),
    /// [`listed`](Archive::listed), [`order`](Archive::order) and [`start_after`](Archive::start_after) have no effect.
    ///
    /// # Calls
    /// One of ListFragments, after the [settling time](Archive::settle), and one of GetMediaForFragmentList. If nothing
    /// is listed, one call of DescribeStream checks the retention.
    ///
    /// # Errors
    /// As [`fragments`](Archive::fragments). With [`OnUnavailable::Skip`](crate::OnUnavailable::Skip), a fragment that
    /// cannot be read at all is passed over for the one before it.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connections. Nothing is sent before it is polled.
    ///
    /// # Memory
    /// The listed fragments of 20 s, and the fragment.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape};
    /// use kinesis_video::{Clock, KinesisVideo};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
    /// let stored = door.push(&document);
    ///
    /// let archive = KinesisVideo::new(&endpoint.sdk_config()).archive("door").clock(Clock::Producer);
    /// let fragment = archive.fragment_at(stored.producer_time).await?.expect("it is stored");
    /// assert_eq!(fragment.number(), Some(&stored.number));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub async fn fragment_at(self, time: Timestamp) -> Result<Option<Fragment>> {
        let span = tracing::info_span!("archive", stream = %self.stream);
        let newest = async move { std::pin::pin!(self.newest_first(time)).try_next().await };
        newest.instrument(span).await
    }

    /// Reads the fragments that start in the 20 s up to a time, the latest first. Each is requested when polled for.
    pub(crate) fn newest_first(self, time: Timestamp) -> impl Stream<Item = Result<Fragment>> + Send + 'static {
        try_stream! {
            self.check().map_err(|error| error.of_stream(self.stream.as_str()))?;
            let start = time.plus_nanos(-MAX_DURATION * 1_000_000);
            let range = MillisRange { start: ceil_millis(start), end: time.as_millis() };
            let mut listing = Listing::new(self.client.clone(), self.stream.clone());
            listing.range = Some(range.to_range());
            listing.clock = self.clock;
            listing.settle = self.settle;
            listing.retry = self.options.budget.retry;
            listing.timeout = self.options.call_timeout;
            let listed = listing.sorted(Order::Time).await?;
            for info in listed.into_iter().rev() {
                let selection = Selection::Numbers(vec![number_and_size(info)]);
                let fragments = Self { selection, start_after: None, ..self.clone() }.fragments();
                // The readable part of an unavailable fragment comes before its error.
                let read: Vec<Fragment> = fragments.try_collect().await?;
                for fragment in read {
                    yield fragment;
                }
            }
        }
    }

    /// Returns the clock of times.
    #[cfg(feature = "ffmpeg")]
    pub(crate) fn clock_of_times(&self) -> Clock {
        self.clock
    }
}
