//! Saves calls of Amazon Connect as WAV files, and prints what was in them.
//!
//! ```text
//! connect_to_wav FILE|--stream NAME|ARN [--contact ID] [--stereo|--per-party|--per-fragment] [--start now|earliest]
//!                [--idle SECONDS] --out PREFIX
//! ```
//!
//! `--stereo` writes `PREFIX.wav`, `--per-party` `PREFIX-AUDIO_FROM_CUSTOMER.wav` and `PREFIX-AUDIO_TO_CUSTOMER.wav`. Where
//! there is more than one contact, their ids are in the names.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::audio::{AudioDiscontinuity, SAMPLE_RATE};
use kinesis_video::{
    AudioChunk, AudioStreamExt, Fragment, FragmentStream, FragmentStreamExt, KinesisVideo, Party, RecordExt, Result,
    Start, WavSink,
};

/// Saves calls of Amazon Connect as WAV files.
#[derive(Parser)]
struct Options {
    /// A payload or any MKV file.
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    file: Option<PathBuf>,
    /// A stream, by name or ARN. Where it is comes from the environment: AWS_REGION, AWS_PROFILE,
    /// AWS_ENDPOINT_URL.
    #[arg(long)]
    stream: Option<String>,
    /// Only this contact.
    #[arg(long)]
    contact: Option<String>,
    /// One file, the customer left, the agent right. This is what is done if nothing is said.
    #[arg(long, group = "layout")]
    stereo: bool,
    /// A file for each party.
    #[arg(long, group = "layout")]
    per_party: bool,
    /// A file for each party and fragment.
    #[arg(long, group = "layout")]
    per_fragment: bool,
    /// Where in a stream to begin.
    #[arg(long, value_enum, default_value_t = From::Earliest)]
    start: From,
    /// A call in a stream is over when so many seconds nothing has come.
    #[arg(long, default_value_t = 10.0)]
    idle: f64,
    /// What the names of the files begin with.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

/// What was heard, contact by contact.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Contact>>>);

#[derive(Default)]
struct Contact {
    id: Option<String>,
    samples: [u64; 2],
    filled: [u64; 2],
    trimmed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let heard = Heard::default();
    let fragments = Arc::new(Mutex::new(0u64));
    let counted = Arc::clone(&fragments);
    let source = source(&options).await?;
    let source = source.inspect_ok(move |_| *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1);
    let mut audio = source.take_until(Box::pin(tokio::signal::ctrl_c())).connect_audio();
    if let Some(contact) = &options.contact {
        audio = audio.contact(contact.as_str());
    }
    let hearing = heard.clone();
    let audio = audio.inspect_ok(move |chunk| hearing.count(chunk));

    let result = if options.per_fragment {
        audio.record(WavSink::per_fragment(&options.out)).await
    } else if options.per_party {
        audio.record(WavSink::per_contact(&options.out)).await
    } else {
        audio.stereo().record(WavSink::per_contact(&options.out)).await
    };
    let contacts = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let ([contact], false, Ok(_)) = (&contacts[..], options.per_fragment, &result) {
        name_plainly(&options.out, contact)?;
    }
    for contact in contacts.iter() {
        let seconds = |samples: u64| samples as f64 / f64::from(SAMPLE_RATE);
        let Contact { id, samples: [from, to], filled: [from_filled, to_filled], trimmed } = contact;
        println!(
            "contact {}: from customer {:.3} s ({:.3} s of silence filled), to customer {:.3} s ({:.3} s), \
             {:.3} s trimmed",
            id.as_deref().unwrap_or("unknown"),
            seconds(*from),
            seconds(*from_filled),
            seconds(*to),
            seconds(*to_filled),
            seconds(*trimmed),
        );
    }
    let fragments = fragments.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} contacts, {fragments} fragments; {}", contacts.len(), result?);
    Ok(())
}

impl Heard {
    fn count(&self, chunk: &AudioChunk) {
        let mut contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = chunk.contact_id().map(ToOwned::to_owned);
        if contacts.last().is_none_or(|last| last.id != id) {
            contacts.push(Contact { id, ..Contact::default() });
        }
        let Some(contact) = contacts.last_mut() else { return };
        let party = usize::from(chunk.party() == Party::ToCustomer);
        let samples = chunk.samples().len() as u64;
        contact.samples.iter_mut().skip(party).take(1).for_each(|all| *all += samples);
        if chunk.is_filled() {
            contact.filled.iter_mut().skip(party).take(1).for_each(|all| *all += samples);
        }
        for discontinuity in chunk.discontinuities() {
            if let AudioDiscontinuity::Trimmed(samples) = discontinuity {
                contact.trimmed += samples;
            }
        }
    }
}

async fn source(options: &Options) -> Result<BoxStream<'static, Result<Fragment>>> {
    Ok(match (&options.file, &options.stream) {
        (Some(path), _) => FragmentStream::new(tokio::fs::File::open(path).await?).boxed(),
        (None, stream) => {
            let start = match options.start {
                From::Earliest => Start::Earliest,
                From::Now => Start::Now,
            };
            let kvs = KinesisVideo::from_env().await;
            let silence = Duration::try_from_secs_f64(options.idle).unwrap_or(Duration::MAX);
            kvs.live(stream.as_deref().unwrap_or_default()).start(start).idle_timeout(silence).fragments().boxed()
        }
    })
}

/// Of the files of an only contact, takes its id out of the names.
fn name_plainly(prefix: &Path, contact: &Contact) -> Result<()> {
    let name = |middle: &str, end: &str| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(middle);
        name.push(end);
        PathBuf::from(name)
    };
    let id = format!("-{}", WavSink::contact_in_name(contact.id.as_deref()));
    for end in [".wav", "-AUDIO_FROM_CUSTOMER.wav", "-AUDIO_TO_CUSTOMER.wav"] {
        if name(&id, end).exists() {
            std::fs::rename(name(&id, end), name("", end))?;
        }
    }
    Ok(())
}
