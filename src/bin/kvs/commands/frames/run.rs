//! Decodes, encodes and saves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_stream::try_stream;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt, TryStreamExt};
use indicatif::HumanBytes;
use kinesis_video::frame::{FragmentReport, Frame, FrameInfo, FrameItem, NoPicture, SkippedBlock};
use kinesis_video::{
    Acks, EncodedFrame, Fragment, FragmentStreamExt, FrameStreamExt, ImageFormat, ImageSink, MediaSink,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Frames;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::sheet::{Sheet, Tile};
use crate::source::save_position;
use crate::{files, shards, time, words};

const DEFAULT_QUALITY: u8 = 80;

/// The default of --concurrency is the number of processors, up to this.
const MAX_DEFAULT_CONCURRENCY: usize = 4;

/// A picture, unless only a sheet is made.
type Pictures = BoxStream<'static, kinesis_video::Result<Option<EncodedFrame>>>;

/// A report, and how many pictures come before it.
type Report = (u64, FragmentReport);

impl Frames {
    pub(crate) async fn run(mut self, cx: &Context) -> Result<()> {
        if let Some(shard) = self.part.shard {
            shards::check_names(self.name.as_deref(), "{fragment}", "{fragment}-{i}.{ext}")?;
            self.selection = self.selection.of_shard(&self.source, shard)?;
            self.sheet = self.sheet.map(|(file, format)| (shards::path_of(&file, shard), format));
        }
        if self.output.is_none() && self.selection.has_checkpoint() {
            let what = "--checkpoint needs a folder for pictures, since each run replaces the sheet";
            return Err(Failure::usage(what).hint("-o DIR"));
        }
        let sink = self.output.as_ref().map(|dir| match &self.name {
            Some(name) => ImageSink::to_dir(dir).pattern(name),
            None => Ok(ImageSink::to_dir(dir)),
        });
        let sink = sink.transpose().map_err(|error| Failure::of_argument(&error))?;

        let name = self.source.to_string();
        let mut input = self.selection.open(&self.source, cx).await?;
        let (seen, sheet) = (Arc::<Mutex<Seen>>::default(), self.sheet.is_some().then(Arc::<Mutex<Sheet>>::default));
        let items = std::mem::replace(&mut input.items, futures::stream::empty().boxed());
        let (sender, reports) = unbounded_channel();
        let pictures = self.pictures(items, &seen, sheet.clone(), sender);
        let mut saver =
            Saver { cx, sink, reports, waiting: VecDeque::new(), acks: input.acks.clone(), tally: Tally::default() };
        let saved = saver.save(pictures).await.map_err(|failure| failure.about(&name));
        input.bar.finish_and_clear();
        let position = save_position(input.acks, cx).await;

        let Saver { sink, tally, .. } = saver;
        if let (Some(sink), Some(dir), 1..) = (&sink, &self.output, tally.pictures) {
            let bytes = MediaSink::<EncodedFrame>::summary(sink).bytes();
            let pictures = words::count(tally.pictures, "picture");
            let failed = match tally.undecoded {
                0 => String::new(),
                n => format!(", {n} could not be decoded"),
            };
            cx.screen.note(&format!("{pictures} to {}: {}{failed}", dir.display(), HumanBytes(bytes)));
        }
        let sheet = match (&self.sheet, sheet) {
            (Some((path, format)), Some(sheet)) if tally.pictures > 0 => {
                let sheet = std::mem::take(&mut *lock(&sheet));
                save_sheet(sheet, &name, path, *format, cx).await
            }
            _ => Ok(()),
        };
        saved?;
        position?;
        sheet?;
        if tally.pictures == 0 && !cx.signals.is_interrupted() {
            let seen = lock(&seen);
            return match (seen.fragments, self.selection.has_checkpoint()) {
                (0, true) => self.selection.nothing(&self.source, "new fragment", cx),
                (0, false) => self.selection.nothing(&self.source, "fragment", cx),
                _ => Err(seen.failure(&name, &tally)),
            };
        }
        Ok(())
    }

    /// Returns the chosen pictures, encoded if they are to be saved.
    fn pictures(
        &self,
        fragments: BoxStream<'static, kinesis_video::Result<Fragment>>,
        seen: &Arc<Mutex<Seen>>,
        sheet: Option<Arc<Mutex<Sheet>>>,
        reports: UnboundedSender<Report>,
    ) -> Pictures {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = self.concurrency.map_or(processors.min(MAX_DEFAULT_CONCURRENCY), |n| n as usize);
        let seen = Arc::clone(seen);
        let fragments = fragments.inspect_ok(move |fragment| {
            lock(&seen).add(fragment);
        });
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
        if self.output.is_none() {
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

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
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
struct Saver<'a> {
    cx: &'a Context,
    sink: Option<ImageSink>,
    reports: UnboundedReceiver<Report>,
    /// Reports on fragments some of whose pictures are not saved yet.
    waiting: VecDeque<Report>,
    acks: Option<Acks>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    pictures: u64,
    /// Coded frames without a picture, for whatever reason.
    undecoded: u64,
    coded: u64,
}

impl Saver<'_> {
    async fn save(&mut self, mut pictures: Pictures) -> Result<()> {
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

async fn save_sheet(sheet: Sheet, source: &str, path: &Path, format: ImageFormat, cx: &Context) -> Result<()> {
    let (tiles, pictures, source) = (sheet.tiles(), sheet.pictures(), source.to_owned());
    let drawn = tokio::task::spawn_blocking(move || {
        let image = sheet.draw(&source);
        Ok::<_, Failure>((image.dimensions(), crate::sheet::encode(&image, format)?))
    });
    let drawn = drawn.await.map_err(|error| Failure::other("cannot draw the sheet").why(error.to_string()))?;
    let ((width, height), content) = drawn?;
    let bytes = files::save(path, content).await?;
    if cx.screen.is_json() {
        let path = path.display().to_string();
        return cx.screen.object(&json!({
            "sheet": path, "tiles": tiles, "pictures": pictures, "width": width, "height": height, "bytes": bytes,
        }));
    }
    let tiles =
        if tiles < pictures { format!("{tiles} of {pictures} pictures") } else { words::count(tiles, "picture") };
    cx.screen.line(&format!("{}  {tiles}  {width}x{height}", path.display()))
}

/// The fragments and tracks of a SOURCE, to say why there is no picture.
#[derive(Default)]
struct Seen {
    fragments: u64,
    /// The kind and codec of each track.
    tracks: BTreeSet<(&'static str, String)>,
}

impl Seen {
    fn add(&mut self, fragment: &Fragment) {
        self.fragments += 1;
        for track in fragment.tracks().iter() {
            let kind = track.kind().name();
            if !self.tracks.iter().any(|(known, codec)| *known == kind && codec == track.codec_id()) {
                self.tracks.insert((kind, track.codec_id().to_owned()));
            }
        }
    }

    /// Returns the failure for fragments without a picture.
    fn failure(&self, source: &str, tally: &Tally) -> Failure {
        let tracks: Vec<_> =
            self.tracks.iter().map(|(kind, codec)| format!("{kind} {}", words::codec(codec))).collect();
        let has_video = self.tracks.iter().any(|(kind, _)| *kind == "video");
        if tracks.is_empty() {
            Failure::nothing(format!("no picture in {source}: it has no tracks"))
        } else if !has_video {
            Failure::nothing(format!("no picture in {source}: it has no video, only {}", tracks.join(", ")))
        } else if tally.coded == 0 {
            Failure::nothing(format!("no picture in {source}: its video is empty ({})", tracks.join(", ")))
        } else {
            let coded = words::count(tally.coded, "coded picture");
            Failure::nothing(format!("no picture in {source}: {coded}, none decodable ({})", tracks.join(", ")))
                .hint(format!("`kvs inspect {source} --packets` shows what it has"))
        }
    }
}
