//! Interruption: the first signal ends a command in good order, the second at once.

use tokio_util::sync::CancellationToken;

use crate::failure::INTERRUPTED;

/// Whether SIGINT or SIGTERM has arrived. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals(CancellationToken);

impl Signals {
    /// Starts to listen. The second signal ends the process.
    pub(crate) fn listen() -> Self {
        let signals = Self::default();
        let token = signals.0.clone();
        tokio::spawn(async move {
            let mut source = Source::new();
            source.next().await;
            token.cancel();
            source.next().await;
            std::process::exit(INTERRUPTED.into());
        });
        signals
    }

    /// Waits for the first signal.
    pub(crate) fn interrupted(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.clone().cancelled_owned()
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Where the signals come from: Ctrl-C, and SIGTERM, with which containers are stopped.
struct Source {
    #[cfg(unix)]
    term: Option<tokio::signal::unix::Signal>,
}

impl Source {
    fn new() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Self { term: signal(SignalKind::terminate()).ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(term) = &mut self.term {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            return;
        }
        let _ = tokio::signal::ctrl_c().await;
    }
}
