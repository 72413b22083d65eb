//! An HTTP client for the AWS SDK that calls the router without sockets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt;

use crate::local::clock::Clock;
use crate::local::server::connection::Resetter;

/// Makes a client that sends requests to this router until it is stopped.
pub(crate) fn client(router: Router, stop: CancellationToken) -> SharedHttpClient {
    http_client_fn(move |settings, _| {
        let (router, stop, read_timeout) = (router.clone(), stop.clone(), settings.read_timeout());
        SharedHttpConnector::new(Connector { router, stop, read_timeout })
    })
}

#[derive(Clone, Debug)]
struct Connector {
    router: Router,
    stop: CancellationToken,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let Some(most) = this.read_timeout else { return this.answer(request).await };
            let late = |_| Err(ConnectorError::timeout(format!("no answer in {most:?}").into()));
            timeout(most, this.answer(request)).await.unwrap_or_else(late)
        })
    }
}

impl Connector {
    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let mut request = request.map(Body::new);
        // Each call counts as a connection of its own.
        let connection = Resetter::default();
        request.extensions_mut().insert(ConnectInfo(connection.clone()));
        let stopped = || ConnectorError::io(io::Error::from(io::ErrorKind::ConnectionReset).into());
        let response = self.stop.run_until_cancelled(self.router.oneshot(request)).await;
        let response = match response.ok_or_else(stopped)? {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let stopped = Box::pin(self.stop.cancelled_owned());
        let response = response.map(|body| {
            let inner = Mutex::new(Some(Inner { body, connection, stopped }));
            SdkBody::from_body_1_x(InProcessBody { inner })
        });
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// The body of a response. It fails when its connection is reset, as one from a socket does.
#[derive(Debug)]
struct InProcessBody {
    /// The mutex is never contended. It makes the contents `Sync`, as the SDK requires.
    inner: Mutex<Option<Inner>>,
}

#[derive(Debug)]
struct Inner {
    body: Body,
    connection: Resetter,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for InProcessBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let slot = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(inner) = slot else { return Poll::Ready(None) };
        let frame = if inner.stopped.as_mut().poll(cx).is_ready() {
            Some(Err(reset()))
        } else {
            let frame = ready!(Pin::new(&mut inner.body).poll_frame(cx));
            if inner.connection.is_reset() { Some(Err(reset())) } else { frame.map(|frame| frame.map_err(Into::into)) }
        };
        if !matches!(frame, Some(Ok(_))) {
            // Dropping the body closes the connection.
            *slot = None;
        }
        Poll::Ready(frame)
    }
}

fn reset() -> axum::BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

/// A time source for the SDK's signatures: this machine's time, moving with tokio's clock.
#[derive(Debug)]
pub(crate) struct MachineTime(pub(crate) Arc<Clock>);

impl TimeSource for MachineTime {
    fn now(&self) -> SystemTime {
        self.0.machine_time(Instant::now()).to_system_time()
    }
}
