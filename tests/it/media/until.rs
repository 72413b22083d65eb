//! Bounds of a stream, and the reasons of its end.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use kinesis_video::{Bound, Error, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, StreamEnd, Timestamp};

use crate::support::bodies::{live_body, ordinal_of, producer_document, stamp};

async fn read(bound: impl Into<Bound>) -> (Vec<u32>, Option<StreamEnd>) {
    let body = live_body((1..=6).map(producer_document));
    let mut until = FragmentStream::new(&body[..]).until(bound);
    let mut ordinals = Vec::new();
    while let Some(fragment) = until.try_next().await.unwrap() {
        assert_eq!(until.end_reason().is_some(), until.size_hint().1 == Some(0));
        ordinals.push(ordinal_of(&fragment));
    }
    assert!(until.next().await.is_none());
    (ordinals, until.end_reason())
}

#[tokio::test]
async fn counts_and_numbers_end_the_stream() {
    assert_eq!(read(Bound::Count(0)).await, (vec![], Some(StreamEnd::Count)));
    assert_eq!(read(Bound::Count(2)).await, (vec![1, 2], Some(StreamEnd::Count)));
    assert_eq!(read(Bound::Count(9)).await, (vec![1, 2, 3, 4, 5, 6], Some(StreamEnd::EndOfMedia)));
    // A number is inclusive. If it is missing, the stream ends before a larger one.
    assert_eq!(read(stamp(3).number).await, (vec![1, 2, 3], Some(StreamEnd::Fragment)));
    let between = kinesis_video::local::fragment_number(3, 9_999_999_999_999);
    assert_eq!(read(between).await, (vec![1, 2, 3], Some(StreamEnd::Fragment)));
    assert_eq!(read(stamp(9).number).await, (vec![1, 2, 3, 4, 5, 6], Some(StreamEnd::EndOfMedia)));
}

#[tokio::test]
async fn times_end_the_stream() {
    let after = |time: Timestamp, millis: i64| Timestamp::from_millis(time.as_millis() + millis);
    let third = stamp(3);
    let producer = |millis| Bound::ProducerTime(after(third.producer_time, millis));
    // Packets are at 0 to 800 ms of each second.
    assert_eq!(read(producer(0)).await, (vec![1, 2], Some(StreamEnd::Time)));
    assert_eq!(read(producer(1)).await, (vec![1, 2, 3], Some(StreamEnd::Time)));
    assert_eq!(read(producer(800)).await, (vec![1, 2, 3], Some(StreamEnd::Time)));
    assert_eq!(read(producer(900)).await, (vec![1, 2, 3], Some(StreamEnd::Time)));
    assert_eq!(read(producer(90_000)).await, (vec![1, 2, 3, 4, 5, 6], Some(StreamEnd::EndOfMedia)));
    let server = |millis| Bound::ServerTime(after(third.server_time, millis));
    assert_eq!(read(server(0)).await, (vec![1, 2], Some(StreamEnd::Time)));
    assert_eq!(read(server(1)).await, (vec![1, 2, 3], Some(StreamEnd::Time)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_silent_stream() {
    let silent = stream::pending::<kinesis_video::Result<Fragment>>();
    let mut until = silent.until(tokio::time::Instant::now().into_std() + Duration::from_secs(3600));
    assert!(until.next().await.is_none());
    assert_eq!(until.end_reason(), Some(StreamEnd::Deadline));
    assert_eq!(read(Instant::now() - Duration::from_secs(1)).await, (vec![], Some(StreamEnd::Deadline)));
}

#[tokio::test]
async fn errors_pass_through() {
    let failing = stream::iter([Err(Error::new(ErrorKind::Io, "gone"))]);
    let mut until = failing.until(Bound::Count(5));
    assert!(until.next().await.unwrap().is_err());
    assert_eq!(until.end_reason(), Some(StreamEnd::Failed));
    assert!(until.next().await.is_none());
}
