//! [`FrameAt`]: the future of the picture that is shown at a time.

use std::collections::VecDeque;
use std::fmt;
use std::future::Ready;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::{self, Once};
use pin_project_lite::pin_project;

use super::Frame;
use super::options::{FrameOptions, OnDecodeError, Reach, Sampling};
use super::plan::{Plan, Planner};
use super::report::FrameItem;
use super::run::Run;
use super::thread::{OnThread, on_thread};
use crate::error::{Error, Result};
use crate::fragment::{Clock, Fragment, FragmentHeader, Timestamp, Track};

/// The longest time from the start of a fragment to a time after its end, at which its last picture is still shown.
///
/// It is the maximum duration of a fragment. After a longer time, media is missing.
const MAX_AGE_NS: i64 = 20_000_000_000;

/// The number of fragments that are kept. The newest may have no picture that can be decoded.
const MAX_CANDIDATES: usize = 2;

pin_project! {
    /// Future of the picture that is shown at a time, from
    /// [`frame_at`](crate::FragmentStreamExt::frame_at).
    ///
    /// The picture is the last one at or before the time, in presentation order. Each fragment is decoded by itself:
    /// pictures of an open group that refer to the previous fragment do not count.
    ///
    /// # None
    /// The future resolves to `None` in these cases:
    ///
    /// | case | |
    /// |---|---|
    /// | before the first picture | no picture has this time or an earlier one |
    /// | after the last picture, or in a gap | the time is after the end of the fragment of the last picture, and more than 20 s after its start. [`Fragment::frame_at`] has no such limit |
    /// | no video | the fragments do not have the track |
    /// | damage | no picture up to the time can be decoded, of the last two fragments that have one |
    ///
    /// 20 s is the service's maximum duration of a fragment. In a shorter gap, and so up to 20 s after the media end, the
    /// result is the last picture before it. [`FrameInfo::producer_time`](super::FrameInfo::producer_time) shows how old
    /// it is.
    ///
    /// # Decoding
    /// Decoding starts at the key frame that the picture needs, and ends with the picture. Nothing else is converted. If
    /// the picture turns out to be damaged or hidden, more of the fragment is decoded, and then the fragment before it, to
    /// find the last picture before it.
    ///
    /// # Errors
    /// - An error of the fragment stream, if it arrives before the picture is known.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a fragment without a time on the
    ///   [clock](FrameAt::clock), such as that of a plain MKV file.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that the installed libavcodec cannot decode, and
    ///   outside a tokio runtime.
    /// - [`Limit`](crate::ErrorKind::Limit) for more than 262,144 coded frames of the track in the chosen fragment.
    /// - [`Malformed`](crate::ErrorKind::Malformed) for damage, only with [`OnDecodeError::Fail`].
    ///
    /// # Cancel safety
    /// Dropping the future loses the fragments that it has read, and stops decoding.
    ///
    /// # Memory
    /// Three fragments: the one that is read, and the last two that have a picture up to the time. Decoding one takes the
    /// same as for [`Frames`](super::Frames).
    #[must_use = "futures do nothing unless polled"]
    pub struct FrameAt<S> {
        #[pin]
        fragments: S,
        search: Search,
    }
}

impl<S> FrameAt<S> {
    pub(crate) fn new(fragments: S, time: Timestamp) -> Self {
        let search = Search {
            time,
            clock: Clock::Producer,
            options: FrameOptions::new(),
            max_age_ns: Some(MAX_AGE_NS),
            fragments: 0,
            candidates: VecDeque::new(),
            state: State::Reading,
        };
        Self { fragments, search }
    }

    fn with(mut self, change: impl FnOnce(FrameOptions) -> FrameOptions) -> Self {
        self.search.options = change(self.search.options);
        self
    }

    /// Sets the clock of the time. Default: [`Clock::Producer`].
    ///
    /// On the service's clock, a picture has the server time of its fragment, plus its distance from the start of the
    /// fragment. The picture is then taken from the last fragment that starts at or before the time.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.search.clock = clock;
        self
    }

    /// Sets the number of the track to decode. Default: the first video track of each fragment.
    ///
    /// A track without a video codec is an error.
    pub fn track(self, number: u64) -> Self {
        self.with(|options| options.track(number))
    }

    /// Sets the handling of a damaged picture. Default: [`OnDecodeError::Skip`].
    ///
    /// | setting | result |
    /// |---|---|
    /// | [`Skip`](OnDecodeError::Skip) | the last undamaged picture before it, of the same fragment or the one before |
    /// | [`Conceal`](OnDecodeError::Conceal) | the picture as the decoder concealed it |
    /// | [`Fail`](OnDecodeError::Fail) | an error |
    pub fn on_decode_error(self, on_decode_error: OnDecodeError) -> Self {
        self.with(|options| options.on_decode_error(on_decode_error))
    }

    /// Sets the maximum number of pixels of the picture. Default: 8192 × 4352 = 35,651,584.
    ///
    /// A larger picture counts as damaged.
    pub fn max_pixels(self, pixels: u64) -> Self {
        self.with(|options| options.max_pixels(pixels))
    }
}

impl FrameAt<Once<Ready<Result<Fragment>>>> {
    fn of(fragment: Fragment, time: Timestamp) -> Self {
        let mut future = Self::new(stream::once(std::future::ready(Ok(fragment))), time);
        future.search.max_age_ns = None;
        future
    }
}

impl Fragment {
    /// Decodes the picture of the fragment that is shown at a time on the producer's clock.
    ///
    /// It is the last picture at or before the time, in presentation order. After the end of the fragment it is the last
    /// picture. `None` before the first picture, and if the fragment has no picture that can be decoded.
    ///
    /// See [`FrameAt`] for options, errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, Timestamp};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let fragment = FragmentStream::new(body).try_next().await?.expect("there is one");
    /// let start = fragment.producer_time().expect("the service sent it");
    /// let time = Timestamp::from_millis(start.as_millis() + 500);
    /// if let Some(frame) = fragment.frame_at(time).await? {
    ///     println!("{:?} {:?}", frame.info().producer_time(), frame.to_rgb()?.dimensions());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn frame_at(&self, time: Timestamp) -> FrameAt<Once<Ready<Result<Self>>>> {
        FrameAt::of(self.clone(), time)
    }
}

/// The search for the picture, apart from the fragment stream.
struct Search {
    time: Timestamp,
    clock: Clock,
    options: FrameOptions,
    /// `None` if the last picture of a fragment counts for ever.
    max_age_ns: Option<i64>,
    /// The number of fragments that were read.
    fragments: u64,
    /// The newest fragments that have a picture at or before the time, the newest last.
    candidates: VecDeque<Candidate>,
    state: State,
}

enum State {
    Reading,
    /// A thread plans a fragment, because planning parses each packet.
    Examining(OnThread<Examined>),
    /// A thread plans the chosen fragment again, to decode more of it.
    Planning(Candidate, OnThread<Result<Plan>>),
    Decoding(Candidate, Decoding),
    Done,
}

/// A fragment that has a picture at or before the time.
struct Candidate {
    fragment: Fragment,
    index: u64,
    /// The time on the timeline of the fragment's timecodes.
    timecode_ns: i64,
    plan: Option<Result<Plan>>,
    reach: Reach,
}

struct Examined {
    candidate: Candidate,
    /// `true` if the fragment has a later picture of the track too.
    has_later: bool,
}

struct Decoding {
    run: Run,
    last: Option<Frame>,
}

impl Search {
    /// Starts to plan a fragment on another thread.
    fn examine(&mut self, fragment: Fragment) -> Result<()> {
        let start = self.clock.start_of(fragment.header());
        let start = start.ok_or_else(|| without_time(fragment.header(), fragment.offset(), self.clock))?;
        let distance = self.time.as_nanos().saturating_sub(start.as_nanos());
        let timecode_ns = fragment.header().timecode_ns().saturating_add(distance);
        let mut candidate =
            Candidate { fragment, index: self.fragments, timecode_ns, plan: None, reach: Reach::Picture };
        self.fragments += 1;
        let options = self.options.clone();
        self.state = State::Examining(on_thread("decoding", move || {
            let mut planner = candidate.planner(options);
            let fragment = &candidate.fragment;
            let track = planner.track(fragment).map(Track::number);
            let has_later =
                fragment.blocks().any(|block| Some(block.track()) == track && block.timecode_ns() > timecode_ns);
            let plan = planner.plan(fragment);
            candidate.plan = Some(plan);
            Examined { candidate, has_later }
        })?);
        Ok(())
    }

    /// Keeps the fragment if it has a picture at or before the time. Returns `true` if no later fragment has one.
    fn keep(&mut self, examined: Examined) -> bool {
        let Examined { candidate, has_later } = examined;
        let starts_after = candidate.timecode_ns < candidate.fragment.header().timecode_ns();
        // On the service's clock, fragments may arrive faster than they were recorded.
        let is_last = starts_after || has_later && self.clock == Clock::Producer;
        let has_picture = match &candidate.plan {
            Some(Ok(plan)) => plan.has_wanted(),
            // The error matters if this is the fragment of the picture.
            _ => !starts_after,
        };
        if has_picture {
            self.candidates.push_back(candidate);
            if self.candidates.len() > MAX_CANDIDATES {
                self.candidates.pop_front();
            }
        }
        is_last
    }

    /// Starts to decode the newest of the fragments that are left.
    fn decode(&mut self) -> Result<()> {
        self.state = State::Done;
        while let Some(mut candidate) = self.candidates.pop_back() {
            if self.max_age_ns.is_none_or(|age| candidate.is_shown(age))
                && let Some(plan) = candidate.plan.take()
            {
                self.run(candidate, plan?);
                break;
            }
        }
        Ok(())
    }

    fn run(&mut self, candidate: Candidate, plan: Plan) {
        let run = Run::new(plan, self.options.clone(), false);
        self.state = State::Decoding(candidate, Decoding { run, last: None });
    }

    /// Starts to plan the chosen fragment again, with more pictures to decode.
    fn reach_further(&mut self, mut candidate: Candidate) -> Result<()> {
        candidate.reach = match candidate.reach {
            Reach::Picture => Reach::Group,
            Reach::Group => Reach::Fragment,
            Reach::Fragment => return self.decode(),
        };
        let (mut planner, fragment) = (candidate.planner(self.options.clone()), candidate.fragment.clone());
        let planning = on_thread("decoding", move || planner.plan(&fragment))?;
        self.state = State::Planning(candidate, planning);
        Ok(())
    }
}

impl Candidate {
    fn planner(&self, mut options: FrameOptions) -> Planner {
        options.sampling = Sampling::UpTo(self.timecode_ns, self.reach);
        Planner::new(options, false).starting_at(self.index)
    }

    /// Returns `true` if the time is within the fragment, or at most `max_age_ns` after its start.
    fn is_shown(&self, max_age_ns: i64) -> bool {
        let age = self.timecode_ns.saturating_sub(self.fragment.header().timecode_ns());
        age <= max_age_ns || i128::from(age) < self.fragment.duration().as_nanos() as i128
    }
}

impl Decoding {
    /// Polls the last of the selected pictures. `None` if none of them can be decoded.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        while let Some(item) = ready!(self.run.poll_item(cx)) {
            match item {
                Ok(FrameItem::Frame(frame)) => self.last = Some(frame),
                Ok(FrameItem::Report(_)) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(self.last.take()))
    }
}

impl Search {
    /// Polls everything but the fragment stream. `Pending` without a waker if the next fragment is needed.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Reading => {
                    self.state = State::Reading;
                    return Poll::Ready(Ok(Step::Read));
                }
                State::Examining(mut examining) => match examining.poll_done(cx) {
                    Poll::Pending => {
                        self.state = State::Examining(examining);
                        return Poll::Pending;
                    }
                    Poll::Ready(examined) => {
                        self.state = State::Reading;
                        if self.keep(examined?) {
                            self.decode()?;
                        }
                    }
                },
                State::Planning(candidate, mut planning) => match planning.poll_done(cx) {
                    Poll::Pending => {
                        self.state = State::Planning(candidate, planning);
                        return Poll::Pending;
                    }
                    Poll::Ready(plan) => self.run(candidate, plan??),
                },
                State::Decoding(candidate, mut decoding) => match decoding.poll_last(cx) {
                    Poll::Pending => {
                        self.state = State::Decoding(candidate, decoding);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Some(frame))) => return Poll::Ready(Ok(Step::Found(Some(frame)))),
                    Poll::Ready(Ok(None)) => self.reach_further(candidate)?,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
                State::Done => return Poll::Ready(Ok(Step::Found(None))),
            }
        }
    }
}

enum Step {
    /// The next fragment is needed.
    Read,
    Found(Option<Frame>),
}

impl<S: Stream<Item = Result<Fragment>>> Future for FrameAt<S> {
    type Output = Result<Option<Frame>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let search = this.search;
        loop {
            match ready!(search.poll_work(cx))? {
                Step::Found(frame) => return Poll::Ready(Ok(frame)),
                Step::Read => {}
            }
            let next = ready!(this.fragments.as_mut().poll_next(cx)).transpose();
            let advanced = next.and_then(|next| match next {
                Some(fragment) => search.examine(fragment),
                None => search.decode(),
            });
            if let Err(error) = advanced {
                search.state = State::Done;
                return Poll::Ready(Err(error));
            }
        }
    }
}

fn without_time(header: &FragmentHeader, offset: u64, clock: Clock) -> Error {
    let (this, other) = match clock {
        Clock::Producer => ("producer", "service"),
        Clock::Server => ("service", "producer"),
    };
    let message = match (header.producer_time(), header.server_time()) {
        (None, None) => {
            "the fragment has no time of day, so no picture can be chosen by it; choose one by its timecode from frames()"
                .into()
        }
        _ => format!("the fragment has no time on the clock of the {this}; choose the picture by that of the {other}"),
    };
    let number = header.number().map(ToString::to_string);
    Error::invalid_argument(message).at(offset).in_fragment(number.as_deref())
}

impl<S: fmt::Debug> fmt::Debug for FrameAt<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameAt")
            .field("fragments", &self.fragments)
            .field("time", &self.search.time)
            .field("clock", &self.search.clock)
            .field("options", &self.search.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::super::probe::Probe;
    use super::super::stream::Frames;
    use super::*;
    use crate::demux::FragmentStream;

    #[tokio::test]
    async fn decoding_begins_at_the_key_frame_and_ends_with_the_picture() {
        let camera = include_bytes!("../../tests/data/camera.mkv");
        let fragment = FragmentStream::new(&camera[..]).try_next().await.unwrap().unwrap();
        // `stored` counts the coded frames since the key frame, in stored order.
        let (mut stored, mut keys) = (0, 0);
        for packet in fragment.packets().filter(|packet| packet.track_number() == 1) {
            keys += usize::from(packet.is_key());
            stored = if packet.is_key() { 1 } else { stored + 1 };
            for (after, reach) in [(0, Reach::Picture), (1_000_000, Reach::Picture), (0, Reach::Group)] {
                let mut options = FrameOptions::new();
                options.sampling = Sampling::UpTo(packet.timecode_ns() + after, reach);
                let probe = Probe::default();
                options.probe = probe.clone();
                let frames = Frames::new(stream::iter([Ok(fragment.clone())])).with_options(options);
                let frames: Vec<Frame> = frames.try_collect().await.unwrap();
                let times: Vec<i64> = frames.iter().map(|frame| frame.info().timecode_ns()).collect();
                assert_eq!(times.last(), Some(&packet.timecode_ns()));
                let coded = probe.with(|seen| seen.coded);
                match reach {
                    Reach::Picture => assert!(times.len() == 1 && coded <= stored, "{coded} of {stored}: {packet:?}"),
                    _ => assert!(times.len() <= coded && times.is_sorted(), "{coded}: {times:?}"),
                }
            }
        }
        assert_eq!((stored, keys), (15, 4));
    }
}
