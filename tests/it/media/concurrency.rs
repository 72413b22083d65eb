//! Users can limit their own concurrency.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::FragmentStream;

use crate::support::bodies::{live_body, producer_document, stamp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffered_futures_respect_their_bound() {
    const FRAGMENTS: u32 = 40;
    let body = live_body((1..=FRAGMENTS).map(producer_document));
    let (in_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (in_work, most) = (&in_work, &most);
    let mut numbers: Vec<_> = FragmentStream::new(&body[..])
        .map_ok(|fragment| async move {
            let now = in_work.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            // The work runs on another thread, as real work does.
            let number = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                fragment.number().cloned()
            });
            let number = number.await.expect("the task runs to its end");
            in_work.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        })
        .try_buffer_unordered(4)
        .try_collect()
        .await
        .unwrap();
    numbers.sort();
    assert_eq!(numbers, (1..=FRAGMENTS).map(|ordinal| Some(stamp(ordinal).number)).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 4);
}
