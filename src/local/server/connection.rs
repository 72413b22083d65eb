//! Connections that can be reset.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts TCP connections.
#[derive(Debug)]
pub(crate) struct Accept {
    pub(crate) listener: TcpListener,
    /// Resets all connections when cancelled.
    pub(crate) stop: CancellationToken,
}

/// A TCP connection that can be reset.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    reset: Resetter,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The time until which the client has to take some of the bytes that are waiting for it.
    waits: Option<Pin<Box<Sleep>>>,
}

/// The longest time for which a client of a limited connection may take nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Flags that make a connection reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resetter(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_reset: AtomicBool,
    limits_waits: AtomicBool,
}

impl Resetter {
    /// Resets the connection at its next use.
    pub(crate) fn reset(&self) {
        self.0.is_reset.store(true, Ordering::Release);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.0.is_reset.load(Ordering::Acquire)
    }

    /// Resets the connection once the client takes nothing for a while.
    #[cfg(feature = "viewer")]
    pub(crate) fn limit_waits(&self) {
        self.0.limits_waits.store(true, Ordering::Release);
    }
}

impl Listener for Accept {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // axum's accept pauses when the process is out of sockets.
        let (socket, address) = Listener::accept(&mut self.listener).await;
        // Without this, small chunks would wait for acknowledgements.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let stopped = Box::pin(self.stop.clone().cancelled_owned());
        (Connection { socket, reset: Resetter::default(), stopped, waits: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connection {
    pub(crate) fn resetter(&self) -> Resetter {
        self.reset.clone()
    }

    /// Passes on the result of a write, or fails if the client has been waited for too long.
    fn limit(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() || !self.reset.0.limits_waits.load(Ordering::Acquire) {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(LONGEST_WAIT)));
        if waits.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.socket.set_zero_linger()?;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Fails if the connection must be reset, or the endpoint was stopped.
    ///
    /// The user drops the connection then. With a linger time of zero, that sends a TCP reset. The current
    /// task wakes when the endpoint is stopped.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.reset.is_reset() && self.stopped.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.socket.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_read(cx, out)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.limit(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.limit(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
