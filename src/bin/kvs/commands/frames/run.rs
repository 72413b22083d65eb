//! Runs the command.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt};
use indicatif::HumanBytes;
use kinesis_video::{Fragment, ImageFormat, ImageSink};
use serde_json::json;

use super::Frames;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::picture_options::PictureOptions;
use crate::pictures::{Saver, Tally, lock};
use crate::sheet::Sheet;
use crate::source::save_position;
use crate::{files, shards, words};

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
        let PictureOptions { size, quality, png, .. } = self.options;
        if self.output.is_none() && (size.is_some() || quality.is_some() || png) {
            return Err(Failure::usage("--size, --quality and --png are for a folder of pictures").hint("-o DIR"));
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
        let noted = Arc::clone(&seen);
        let items = items.inspect_ok(move |fragment| lock(&noted).add(fragment)).boxed();
        let mut saver = Saver::new(sink, input.acks.clone(), cx);
        let saved = saver.save(items, &self.options, sheet.clone()).await.map_err(|failure| failure.about(&name));
        input.bar.finish_and_clear();
        let position = save_position(input.acks, cx).await;

        let (bytes, tally) = (saver.bytes(), saver.tally);
        if let (Some(dir), 1..) = (&self.output, tally.pictures) {
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
