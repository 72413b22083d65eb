//! Saves Amazon Connect conversations as WAV files and prints the duration of each.
//!
//! ```text
//! connect_to_wav FILE|--stream NAME|ARN [--contact ID] [--stereo|--per-party|--per-fragment] [--start now|earliest]
//!                [--idle SECONDS] --out PREFIX
//! ```
//!
//! `--stereo`, the default, writes `PREFIX.wav`. `--per-party` writes `PREFIX-AUDIO_FROM_CUSTOMER.wav` and
//! `PREFIX-AUDIO_TO_CUSTOMER.wav`. If there are several contacts, their ids are in the names.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
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

use shared::exit_code;

/// Saves Amazon Connect conversations as WAV files.
#[derive(Parser)]
struct Options {
    /// A payload of GetMedia, or any MKV file.
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    file: Option<PathBuf>,
    /// The name or ARN of a stream. AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL apply.
    #[arg(long)]
    stream: Option<String>,
    /// Save only this contact.
    #[arg(long)]
    contact: Option<String>,
    /// Write one file: the customer on the left channel, the agent on the right. The default.
    #[arg(long, group = "layout")]
    stereo: bool,
    /// Write a file for each party.
    #[arg(long, group = "layout")]
    per_party: bool,
    /// Write a file for each party and fragment.
    #[arg(long, group = "layout")]
    per_fragment: bool,
    /// The place in the stream to start at.
    #[arg(long, value_enum, default_value_t = From::Earliest)]
    start: From,
    /// End when no fragment has arrived for this many seconds.
    #[arg(long, default_value_t = 10.0)]
    idle: f64,
    /// The beginning of the file names.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

/// The totals of each contact, in the order of arrival.
#[derive(Clone, Default)]
struct Totals(Arc<Mutex<Vec<Contact>>>);

#[derive(Default)]
struct Contact {
    id: Option<String>,
    samples: [u64; 2],
    filled: [u64; 2],
    trimmed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let totals = Totals::default();
    let fragments = Arc::new(Mutex::new(0u64));
    let counted = Arc::clone(&fragments);
    let source = source(&options).await?;
    let source = source.inspect_ok(move |_| *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1);
    let mut audio = source.take_until(Box::pin(tokio::signal::ctrl_c())).connect_audio();
    if let Some(contact) = &options.contact {
        audio = audio.contact(contact.as_str());
    }
    let counting = totals.clone();
    let audio = audio.inspect_ok(move |chunk| counting.add(chunk));

    let result = if options.per_fragment {
        audio.record(WavSink::per_fragment(&options.out)).await
    } else if options.per_party {
        audio.record(WavSink::per_contact(&options.out)).await
    } else {
        audio.stereo().record(WavSink::per_contact(&options.out)).await
    };
    let contacts = totals.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let ([contact], false, Ok(_)) = (&contacts[..], options.per_fragment, &result) {
        remove_contact_id(&options.out, contact)?;
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

impl Totals {
    fn add(&self, chunk: &AudioChunk) {
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
            let idle = Duration::try_from_secs_f64(options.idle).unwrap_or(Duration::MAX);
            kvs.live(stream.as_deref().unwrap_or_default()).start(start).idle_timeout(idle).fragments().boxed()
        }
    })
}

/// Removes the contact's id from the names of its files.
fn remove_contact_id(prefix: &Path, contact: &Contact) -> Result<()> {
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
