//! A run of a decoder on the threads for blocking work, a step at a time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::decode::Decode;
use super::options::FrameOptions;
use super::plan::Plan;
use super::report::FrameItem;
use crate::error::{Error, ErrorKind, Result};

/// While pictures of so many bytes wait to be taken, no more are decoded.
const MOST_WAITING: usize = 32 << 20;

/// Steps are short and no thread waits between them: however many streams there are, and however slow
/// those who take their pictures, none can use up the threads that others need.
pub(super) struct Run {
    state: State,
    waiting: VecDeque<Result<FrameItem>>,
    bytes: usize,
    /// At the end, how many blocks behind the last picture gave none.
    missing: u32,
    /// Ends a step that is under way before its next picture.
    is_stopped: Arc<AtomicBool>,
}

enum State {
    Idle(Box<Decode>),
    Working(AbortOnDropHandle<Step>),
    Done,
}

struct Step {
    decode: Box<Decode>,
    items: Vec<FrameItem>,
    result: Result<()>,
}

impl Run {
    /// A run over one fragment, or, if `is_open`, over more to come.
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

    /// One that has nothing but an error to give.
    pub(super) fn failed(error: Error) -> Self {
        Self {
            state: State::Done,
            waiting: [Err(error)].into(),
            bytes: 0,
            missing: 0,
            is_stopped: Arc::default(),
        }
    }

    /// The decoder of an open run that has nothing left to do: give it more, or close it.
    pub(super) fn hungry(&mut self) -> Option<&mut Decode> {
        match &mut self.state {
            State::Idle(decode) if !decode.has_work() && !decode.is_finished() => Some(decode),
            _ => None,
        }
    }

    /// At the end, how many blocks behind the last picture gave none.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }

    /// The next item, `None` at the end.
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

    /// Works ahead as far as it may. Ready when nothing more will come.
    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Working(step) => {
                    let step = ready!(Pin::new(step).poll(cx));
                    self.take(step);
                }
                State::Done => return Poll::Ready(()),
                State::Idle(decode) if decode.is_finished() => {
                    self.missing = decode.missing();
                    self.state = State::Done;
                }
                State::Idle(decode) if !decode.has_work() || self.bytes >= MOST_WAITING => return Poll::Pending,
                State::Idle(_) => match Handle::try_current() {
                    Ok(executor) => self.work_on(&executor),
                    Err(error) => {
                        let error = Error::new(ErrorKind::Unsupported, "decoding needs a tokio runtime").caused_by(error);
                        self.waiting.push_back(Err(error));
                        self.state = State::Done;
                    }
                },
            }
        }
    }

    fn work_on(&mut self, executor: &Handle) {
        let State::Idle(mut decode) = std::mem::replace(&mut self.state, State::Done) else { return };
        let is_stopped = Arc::clone(&self.is_stopped);
        let step = executor.spawn_blocking(move || {
            let mut items = Vec::new();
            let result = decode.step(&is_stopped, &mut items);
            Step { decode, items, result }
        });
        self.state = State::Working(AbortOnDropHandle::new(step));
    }

    fn take(&mut self, step: Result<Step, tokio::task::JoinError>) {
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
                let message = if error.is_panic() { "the decoding thread panicked" } else { "the runtime shuts down" };
                self.waiting.push_back(Err(Error::new(ErrorKind::Unsupported, message).caused_by(error)));
                State::Done
            }
        };
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Freeing a decoder is its thread's work, too.
        if let (State::Idle(decode), Ok(executor)) = (std::mem::replace(&mut self.state, State::Done), Handle::try_current()) {
            drop(executor.spawn_blocking(move || drop(decode)));
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("waiting", &self.waiting.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
