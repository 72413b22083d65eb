//! PutMedia.

mod ack;
mod cutter;
mod error;
mod headers;
mod session;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) use headers::stream_named_by;

pub use cutter::{Cut, FragmentCutter};
pub use error::PutError;

use crate::local::faults::counters::Event;
use crate::local::faults::operation::Operation;
use crate::local::server::connection::Resetter;
use crate::local::server::state::Server;
use crate::local::server::wire::{Answer, ErrorResponse};
use headers::PutHeaders;
use session::{Session, Source, run};

/// The most acknowledgements that wait for the client to read them.
const MAX_ACKS: usize = 64;

/// How long headers wait for the body of a client that asked whether to send it.
const EXPECT_WAIT: Duration = Duration::from_millis(50);

pub(crate) async fn put_media(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    request: Request<Body>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let stream = server.find_for_call(Operation::PutMedia, &stream_named_by(&parts.headers))?;
    let headers = PutHeaders::parse(&parts.headers)?;
    server.check_endpoint(Operation::PutMedia, &stream)?;
    if stream.is_finished() {
        return Err(ErrorResponse::not_found(stream.name()));
    }
    let Some(open) = stream.put_connections().open(server.quotas.put_connections) else {
        server.counters.count(Event::ConnectionLimit);
        let message = "Too many connections of PutMedia are open for this stream";
        return Err(ErrorResponse::new("ConnectionLimitExceededException", message));
    };
    let fault = server.take_fault(Operation::PutMedia, Some(&stream))?;
    let mut body = body.into_data_stream();
    // The first reading of the body sends `100 Continue`, which is too late after the headers of the answer.
    let first = match parts.headers.contains_key(header::EXPECT) {
        true => timeout(EXPECT_WAIT, body.next()).await.ok().flatten(),
        false => None,
    };
    let (acks, waiting) = mpsc::channel(MAX_ACKS);
    let session = Session::new(stream, acks, &headers, fault);
    let source = Source { first, body, connection, open };
    tokio::spawn(run(session, source, server));
    let lines = futures::stream::unfold(waiting, |mut waiting: mpsc::Receiver<Bytes>| async move {
        Some((Ok::<_, std::convert::Infallible>(waiting.recv().await?), waiting))
    });
    let mut response: Response = Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
