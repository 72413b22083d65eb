//! Items and errors of a failing transport.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, stream};
use kinesis_video::{ErrorKind, FragmentEnd, FragmentStream};
use tokio_test::io::Builder;

use crate::support::bodies::{live_body, producer_document};

#[tokio::test]
async fn a_failing_transport_yields_whole_blocks_then_the_error() {
    let body = live_body((1..=2).map(producer_document));
    let second = FragmentStream::new(&body[..]).next().await.unwrap().unwrap().raw().len();
    // A place inside the fourth of five blocks of the second document.
    let fourth = {
        let fragments = crate::support::bodies::fragments(&body).await;
        let payload = fragments[1].packets().nth(3).unwrap().payload().clone();
        body.windows(payload.len()).rposition(|window| window == payload).unwrap() + 10
    };
    let reset = io::Error::new(io::ErrorKind::ConnectionReset, "peer went away");
    let reader = Builder::new().read(&body[..second + 5]).read(&body[second + 5..fourth]).read_error(reset).build();
    let mut fragments = FragmentStream::new(reader);

    assert_eq!(fragments.next().await.unwrap().unwrap().end_reason(), FragmentEnd::Trailer);
    let cut = fragments.next().await.unwrap().unwrap();
    assert_eq!((cut.end_reason(), cut.packets().count()), (FragmentEnd::Cut, 3));
    assert_eq!(cut.raw(), &body[second..fourth]);
    let error = fragments.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.is_retryable());
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
    for _ in 0..3 {
        assert!(fragments.next().await.is_none());
    }
}

#[tokio::test]
async fn an_error_between_fragments_yields_no_cut_fragment() {
    let body = live_body([producer_document(1)]);
    let chunks = stream::iter([Ok(body), Err("no more"), Ok(Bytes::from_static(b"never read"))]);
    let mut fragments = FragmentStream::from_stream(chunks);
    assert_eq!(fragments.next().await.unwrap().unwrap().end_reason(), FragmentEnd::Trailer);
    assert!(fragments.next().await.unwrap().is_err());
    for _ in 0..3 {
        assert!(fragments.next().await.is_none());
    }
}

#[tokio::test]
async fn an_error_after_the_last_block_cuts_the_fragment() {
    // A Cluster of unknown size could have continued. Only the error tells that it did not end there.
    let document = producer_document(1).to_bytes_without_trailer(&crate::support::bodies::stamp(1));
    let chunks = stream::iter([Ok(document.clone()), Err(io::Error::other("gone"))]);
    let mut fragments = FragmentStream::from_stream(chunks);
    let cut = fragments.next().await.unwrap().unwrap();
    assert_eq!((cut.end_reason(), cut.packets().count()), (FragmentEnd::Cut, 5));
    let whole = FragmentStream::new(&document[..]).next().await.unwrap().unwrap();
    assert_eq!(whole.end_reason(), FragmentEnd::EndOfBody);
}

#[tokio::test]
async fn arrival_is_the_time_of_the_first_and_last_byte() {
    let body = live_body((1..=2).map(producer_document));
    let reader = Builder::new().read(&body[..10]).wait(std::time::Duration::from_millis(20)).read(&body[10..]).build();
    let fragments: Vec<_> = FragmentStream::new(reader).map(|fragment| fragment.unwrap()).collect().await;
    let first = fragments[0].arrival().unwrap();
    let second = fragments[1].arrival().unwrap();
    assert!(first.first_byte < first.last_byte);
    assert_eq!(first.last_byte, second.first_byte);
    assert_eq!(second.first_byte, second.last_byte);
}
