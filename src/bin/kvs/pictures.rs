//! Decodes the pictures of fragments, encodes them and saves them as files.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_stream::try_stream;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt, TryStreamExt};
use kinesis_video::frame::{FragmentReport, Frame, FrameInfo, FrameItem, NoPicture, SkippedBlock};
use kinesis_video::{Acks, EncodedFrame, Fragment, FragmentStreamExt, FrameStreamExt, ImageSink, MediaSink};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::context::Context;
use crate::failure::Result;
use crate::picture_options::PictureOptions;
use crate::sheet::{Sheet, Tile};
use crate::{time, words};

const DEFAULT_QUALITY: u8 = 80;

/// The default of --concurrency is the number of processors, up to this.
const MAX_DEFAULT_CONCURRENCY: usize = 4;

/// A picture, unless only a sheet is made.
type Pictures = BoxStream<'static, kinesis_video::Result<Option<EncodedFrame>>>;

/// A report, and how many pictures come before it.
type Report = (u64, FragmentReport);

impl PictureOptions {
    /// Returns the chosen pictures, encoded if `encodes`.
    fn pictures(
        &self,
        fragments: BoxStream<'static, kinesis_video::Result<Fragment>>,
        sheet: Option<Arc<Mutex<Sheet>>>,
        reports: UnboundedSender<Report>,
        encodes: bool,
    ) -> Pictures {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = self.concurrency.map_or(processors.min(MAX_DEFAULT_CONCURRENCY), |n| n as usize);
        let mut frames = fragments.frames().concurrency(concurrency);
        if let Some(ratio) = self.ratio {
            frames = frames.sample_ratio(ratio as usize);
        }
        if let Some(interval) = self.every {
            frames = frames.sample_every(interval);
        }
        if self.keyframes {
            frames = frames.keyframes();
        }
        let mut items = frames.with_reports();
        let frames = try_stream! {
            let mut count = 0;
            while let Some(item) = items.try_next().await? {
                match item {
                    FrameItem::Frame(frame) => {
                        if let Some(sheet) = &sheet {
                            add_to_sheet(sheet, &frame).await?;
                        }
                        count += 1;
                        yield frame;
                    }
                    // Fails only if nobody reads any more.
                    FrameItem::Report(report) => drop(reports.send((count, report))),
                }
            }
        };
        if !encodes {
            return frames.map_ok(|_| None).boxed();
        }
        let (width, height) = self.size.unwrap_or((u32::MAX, u32::MAX));
        let frames = frames.boxed().scale_within(width, height);
        match self.png {
            true => frames.png().map_ok(Some).boxed(),
            false => frames.jpeg(self.quality.unwrap_or(DEFAULT_QUALITY)).map_ok(Some).boxed(),
        }
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn add_to_sheet(sheet: &Mutex<Sheet>, frame: &Frame) -> kinesis_video::Result<()> {
    if lock(sheet).wants_next() {
        let frame = frame.clone();
        // Few pictures are scaled for the sheet, so one at a time is enough.
        if let Ok(tile) = tokio::task::spawn_blocking(move || Tile::of(&frame)).await {
            lock(sheet).push(tile?);
        }
    }
    Ok(())
}

/// Saves pictures, prints them, and acknowledges their fragments.
pub(crate) struct Saver<'a> {
    cx: &'a Context,
    sink: Option<ImageSink>,
    reports: UnboundedReceiver<Report>,
    /// Reports on fragments some of whose pictures are not saved yet.
    waiting: VecDeque<Report>,
    acks: Option<Acks>,
    pub(crate) tally: Tally,
}

/// The numbers of pictures and of coded frames of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pictures: u64,
    /// Coded frames without a picture, for whatever reason.
    pub(crate) undecoded: u64,
    pub(crate) coded: u64,
}

impl<'a> Saver<'a> {
    /// Without a sink, pictures are only decoded. `acks` are told of a fragment once all of its pictures are saved.
    pub(crate) fn new(sink: Option<ImageSink>, acks: Option<Acks>, cx: &'a Context) -> Self {
        // Closed until there are reports.
        let (_, reports) = unbounded_channel();
        Self { cx, sink, reports, waiting: VecDeque::new(), acks, tally: Tally::default() }
    }

    /// Returns the number of bytes in the saved pictures.
    pub(crate) fn bytes(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| MediaSink::<EncodedFrame>::summary(sink).bytes())
    }

    /// Saves the chosen pictures of all fragments.
    pub(crate) async fn save(
        &mut self,
        fragments: BoxStream<'static, kinesis_video::Result<Fragment>>,
        options: &PictureOptions,
        sheet: Option<Arc<Mutex<Sheet>>>,
    ) -> Result<()> {
        let (sender, reports) = unbounded_channel();
        self.reports = reports;
        let mut pictures = options.pictures(fragments, sheet, sender, self.sink.is_some());
        let result = loop {
            let next = tokio::select! {
                biased;
                picture = pictures.try_next() => picture,
                // A SOURCE without pictures still has reports.
                Some(report) = self.reports.recv() => {
                    self.waiting.push_back(report);
                    self.report();
                    continue;
                }
            };
            let saved = match next {
                Ok(Some(picture)) => self.save_picture(picture).await,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            if let Err(failure) = saved {
                break Err(failure);
            }
            self.report();
        };
        self.report();
        result
    }

    async fn save_picture(&mut self, picture: Option<EncodedFrame>) -> Result<()> {
        if let (Some(sink), Some(picture)) = (&mut self.sink, picture) {
            let (path, info, bytes) = (sink.path_of(&picture), picture.info().clone(), picture.bytes().len());
            sink.send(picture).await?;
            SinkExt::<EncodedFrame>::flush(sink).await?;
            let printed = match self.cx.screen.is_json() {
                true => self.cx.screen.object(&object(&path, &info, bytes)),
                false => self.cx.screen.line(&line(&path, &info)),
            };
            self.tally.pictures += 1;
            return printed;
        }
        self.tally.pictures += 1;
        Ok(())
    }

    /// Warns about and acknowledges the fragments whose pictures are on disk.
    fn report(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.waiting.push_back(report);
        }
        while let Some((_, report)) = self.waiting.pop_front_if(|(before, _)| *before <= self.tally.pictures) {
            let failed = report.skipped().iter().map(SkippedBlock::reason).filter(|reason| is_loss(reason));
            let mut reasons = BTreeMap::<String, u64>::new();
            for reason in failed {
                *reasons.entry(reason_text(reason)).or_default() += 1;
            }
            self.tally.coded += u64::from(report.blocks());
            if !reasons.is_empty() {
                let failed = reasons.values().sum::<u64>();
                self.tally.undecoded += failed;
                self.cx.screen.warn(&warning(&report, failed, &reasons));
            }
            if let Some(acks) = &self.acks {
                acks.done(&report.fragment().position());
            }
        }
    }
}

/// Returns whether a picture is lost: parameters, hidden frames and second fields have none.
fn is_loss(reason: &NoPicture) -> bool {
    !matches!(reason, NoPicture::Parameters | NoPicture::NoOutput)
}

fn reason_text(reason: &NoPicture) -> String {
    match reason {
        NoPicture::Damaged(Some(error)) => format!("{reason}: {}", error.message()),
        _ => reason.to_string(),
    }
}

/// Returns one line about the coded frames of a fragment that yielded no picture.
fn warning(report: &FragmentReport, failed: u64, reasons: &BTreeMap<String, u64>) -> String {
    let number = report.fragment().number();
    let fragment = number.map_or_else(|| report.fragment_index().to_string(), ToString::to_string);
    let reasons: Vec<_> = match reasons.len() {
        1 => reasons.keys().cloned().collect(),
        _ => reasons.iter().map(|(reason, count)| format!("{reason} ({count})")).collect(),
    };
    let blocks = words::count(report.blocks().into(), "picture");
    format!("fragment {fragment}: {failed} of {blocks} could not be decoded: {}", reasons.join("; "))
}

fn line(path: &Path, info: &FrameInfo) -> String {
    let time = info.producer_time().map_or_else(|| time::in_media(info.timecode_ns()), time::local);
    format!("{}  {time}  {}x{}", path.display(), info.width(), info.height())
}

fn object(path: &Path, info: &FrameInfo, bytes: usize) -> Value {
    json!({
        "path": path.display().to_string(),
        "fragment_number": info.fragment().number().map(ToString::to_string),
        "fragment_index": info.fragment_index(),
        "picture_index": info.index(),
        "producer_time": info.producer_time().map(|time| time.to_string()),
        "timecode_ns": info.timecode_ns(),
        "width": info.width(),
        "height": info.height(),
        "key": info.is_key(),
        "bytes": bytes,
    })
}
