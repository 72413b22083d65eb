//! Runs a decoder on threads for blocking work, one step at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

use super::decode::Decode;
use super::options::FrameOptions;
use super::plan::Plan;
use super::report::FrameItem;
use super::thread::{OnThread, on_thread};
use crate::error::{Error, Result};

/// Decoding pauses while this many bytes of pictures wait to be polled.
const MAX_WAITING: usize = 32 << 20;

/// A decoder that runs step by step.
///
/// Steps are short and no thread waits between them, so many streams or slow consumers cannot exhaust the
/// thread pool.
pub(super) struct Run {
    state: State,
    waiting: VecDeque<Result<FrameItem>>,
    bytes: usize,
    /// Set at the end: the number of blocks without a picture after the last picture.
    missing: u32,
    /// Ends a running step before its next picture.
    is_stopped: Arc<AtomicBool>,
}

enum State {
    Idle(Box<Decode>),
    Working(OnThread<Step>),
    Done,
}

struct Step {
    decode: Box<Decode>,
    items: Vec<FrameItem>,
    result: Result<()>,
}

impl Run {
    /// Creates a run over one fragment, or over more to follow if `is_open`.
    pub(super) fn new(plan: Plan, options: FrameOptions, is_open: bool) -> Self {
        let mut decode = Box::new(Decode::new(options, is_open));
        decode.push(plan);
        Self {
            state: State::Idle(decode),
            waiting: VecDeque::new(),
            bytes: 0,
            missing: 0,
            is_stopped: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Creates a run that yields only an error.
    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Done, waiting: [Err(error)].into(), bytes: 0, missing: 0, is_stopped: Arc::default() }
    }

    /// Returns the decoder of an open run without work, to push another fragment or close it.
    pub(super) fn accepting(&mut self) -> Option<&mut Decode> {
        match &mut self.state {
            State::Idle(decode) if !decode.has_work() && !decode.is_finished() => Some(decode),
            _ => None,
        }
    }

    /// Returns, at the end, the number of blocks without a picture after the last picture.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }

    /// Polls the next item. `None` at the end.
    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<FrameItem>>> {
        let progress = self.poll_progress(cx);
        match self.waiting.pop_front() {
            Some(item) => {
                self.bytes -= item.as_ref().map_or(0, FrameItem::bytes);
                Poll::Ready(Some(item))
            }
            None => progress.map(|()| None),
        }
    }

    /// Decodes ahead as far as the buffer allows. Is ready when no item will follow.
    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Working(step) => {
                    let step = ready!(step.poll_done(cx));
                    self.finish_step(step);
                }
                State::Done => return Poll::Ready(()),
                State::Idle(decode) if decode.is_finished() => {
                    self.missing = decode.missing();
                    self.state = State::Done;
                }
                State::Idle(decode) if !decode.has_work() || self.bytes >= MAX_WAITING => return Poll::Pending,
                State::Idle(_) => self.start_step(),
            }
        }
    }

    fn start_step(&mut self) {
        let State::Idle(mut decode) = std::mem::replace(&mut self.state, State::Done) else { return };
        let is_stopped = Arc::clone(&self.is_stopped);
        let step = on_thread("decoding", move || {
            let mut items = Vec::new();
            #[cfg(test)]
            let _at_work = decode.probe().begin();
            let result = decode.step(&is_stopped, &mut items);
            Step { decode, items, result }
        });
        match step {
            Ok(step) => self.state = State::Working(step),
            Err(error) => self.waiting.push_back(Err(error)),
        }
    }

    fn finish_step(&mut self, step: Result<Step>) {
        self.state = match step {
            Ok(Step { decode, items, result }) => {
                self.bytes += items.iter().map(FrameItem::bytes).sum::<usize>();
                self.waiting.extend(items.into_iter().map(Ok));
                match result {
                    Ok(()) => State::Idle(decode),
                    Err(error) => {
                        self.waiting.push_back(Err(error));
                        State::Done
                    }
                }
            }
            Err(error) => {
                self.waiting.push_back(Err(error));
                State::Done
            }
        };
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Freeing a decoder takes time, so a thread for blocking work does it.
        if let (State::Idle(decode), Ok(executor)) =
            (std::mem::replace(&mut self.state, State::Done), Handle::try_current())
        {
            drop(executor.spawn_blocking(move || drop(decode)));
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("waiting", &self.waiting.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures::{StreamExt, TryStreamExt};

    use super::super::decode::STEP_ITEMS;
    use super::super::probe::Probe;
    use super::super::stream::Frames;
    use super::*;
    use crate::demux::FragmentStream;
    use crate::error::ErrorKind;
    use crate::fragment::Fragment;

    type Source = futures::stream::Iter<std::vec::IntoIter<Result<Fragment>>>;

    /// Returns the pictures of four fragments and the probe of their decoding.
    async fn frames() -> (Frames<Source>, Probe) {
        let camera = include_bytes!("../../tests/data/camera.mkv");
        let fragment = FragmentStream::new(&camera[..]).try_next().await.unwrap().unwrap();
        let mut options = FrameOptions::new();
        let fragments = vec![Ok(fragment.clone()), Ok(fragment.clone()), Ok(fragment.clone()), Ok(fragment)];
        let probe = Probe::default();
        options.probe = probe.clone();
        (Frames::new(futures::stream::iter(fragments)).with_options(options), probe)
    }

    async fn wait_until(mut condition: impl FnMut() -> bool) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("the condition holds within a minute");
    }

    #[tokio::test]
    async fn a_slow_decoder_does_not_block_the_runtime() {
        let (mut frames, probe) = frames().await;
        probe.with(|seen| seen.gate = Some(20));
        let decoding = tokio::spawn(async move {
            let mut count = 0;
            while frames.try_next().await.unwrap().is_some() {
                count += 1;
            }
            count
        });
        wait_until(|| probe.with(|seen| seen.waiting) == 1).await;
        // The only thread of this runtime continues while the decoder is blocked.
        let ticks = Arc::new(AtomicUsize::new(0));
        let ticking = Arc::clone(&ticks);
        tokio::spawn(async move {
            loop {
                ticking.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
        wait_until(|| ticks.load(Ordering::SeqCst) > 1000).await;
        assert_eq!(probe.with(|seen| seen.coded), 20);
        assert!(!decoding.is_finished());
        probe.with(|seen| seen.gate = None);
        assert_eq!(decoding.await.unwrap(), 4 * 60);
        assert!(probe.with(|seen| !seen.threads.contains(&std::thread::current().id())));
        assert_eq!(probe.with(|seen| (seen.coded, seen.runs)), (4 * 60, 0));
    }

    #[tokio::test]
    async fn dropping_the_stream_stops_decoding() {
        let (frames, probe) = frames().await;
        let mut frames = frames.concurrency(3);
        probe.with(|seen| seen.gate = Some(40));
        // Three fragments are being decoded, and all three reach the gate.
        let waiting = async { wait_until(|| probe.with(|seen| seen.waiting) == 3).await };
        let mut given = 0;
        tokio::select! {
            () = waiting => {}
            () = async { while frames.next().await.is_some() { given += 1 } } => panic!("the gate holds"),
        }
        assert_eq!(probe.with(|seen| seen.runs), 3);
        drop(frames);
        let coded = probe.with(|seen| {
            seen.gate = None;
            seen.coded
        });
        wait_until(|| probe.with(|seen| seen.runs) == 0).await;
        assert_eq!(probe.with(|seen| (seen.coded, seen.waiting)), (coded, 0), "nothing more was decoded");
    }

    #[tokio::test]
    async fn no_thread_waits_for_a_slow_consumer() {
        let (mut frames, probe) = frames().await;
        assert!(frames.try_next().await.unwrap().is_some());
        // The rest is not polled: the second step, started with the first picture, finishes, and no third starts.
        wait_until(|| probe.with(|seen| seen.coded > STEP_ITEMS + 8 && seen.steps == 0)).await;
        let coded = probe.with(|seen| seen.coded);
        assert!(coded < 60, "decoding pauses before the end");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(probe.with(|seen| (seen.coded, seen.steps)), (coded, 0));
        let rest: Vec<_> = frames.try_collect().await.unwrap();
        assert_eq!(rest.len(), 4 * 60 - 1);
    }

    #[test]
    fn without_a_runtime_the_stream_fails() {
        let (mut frames, _) = futures::executor::block_on(frames());
        let error = futures::executor::block_on(frames.try_next()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("tokio runtime"), "{error}");
        assert!(futures::executor::block_on(frames.try_next()).unwrap().is_none());
    }
}
