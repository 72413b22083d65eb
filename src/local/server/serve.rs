//! Serving a router on a socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::middleware;
use axum::response::Response;
use axum::serve::Listener as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::error::{Error, ErrorKind, Result};
use crate::local::server::access::{self, Access};
use crate::local::server::connection::{Accept, Connection};

/// How long a client may take to send the headers of a request, and how long a connection may be idle.
const HEADERS: Duration = Duration::from_secs(60);

/// The most headers of a request.
const MOST_HEADERS: usize = 100;

/// The most bytes of a request's headers.
const HEADER_BYTES: usize = 64 << 10;

/// The most connections at the same time. Others wait until one closes.
const MOST_CONNECTIONS: usize = 8192;

/// A bound socket.
pub(crate) struct Socket {
    listener: tokio::net::TcpListener,
    pub(crate) address: SocketAddr,
    access: Access,
}

impl Socket {
    /// Binds an address.
    ///
    /// # Errors
    /// If it cannot be bound, or other machines can reach it and no token is asked for.
    pub(crate) async fn bind(address: SocketAddr, access: Access) -> Result<Self> {
        access.check(address)?;
        let failed = |error| {
            let message = format!("listening on {address} failed");
            Error::new(ErrorKind::Io, message).retryable(false).caused_by(error)
        };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, access })
    }

    /// Answers requests until it is stopped.
    pub(crate) fn serve(self, router: Router, stop: CancellationToken) {
        let router = router.layer(middleware::from_fn_with_state(Arc::new(self.access), access::admit));
        let mut accept = Accept { listener: self.listener, stop: stop.clone() };
        let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok(seat) = Arc::clone(&free).acquire_owned().await {
                let (connection, _) = accept.accept().await;
                let answered = answer(connection, router.clone());
                tokio::spawn(async move {
                    answered.await;
                    drop(seat);
                });
            }
        }));
    }
}

/// Answers the requests of a connection.
async fn answer(connection: Connection, router: Router) {
    let resetter = connection.resetter();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(resetter.clone()));
        let router = router.clone();
        async move { Ok::<Response, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(never)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(MOST_HEADERS).max_buf_size(HEADER_BYTES);
    if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

fn never<T>(never: Infallible) -> T {
    match never {}
}
