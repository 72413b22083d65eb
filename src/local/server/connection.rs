//! Connections that can be reset.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
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
}

/// A flag that makes a connection reset at its next use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resetter(Arc<AtomicBool>);

impl Resetter {
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.0.load(Ordering::Acquire)
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
        (Connection { socket, reset: Resetter::default(), stopped }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Accept>> for Resetter {
    fn connect_info(stream: IncomingStream<'_, Accept>) -> Self {
        stream.io().reset.clone()
    }
}

impl Connection {
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
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
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
