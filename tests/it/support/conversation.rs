//! Conversations of Amazon Connect, and the audio in them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use futures::TryStreamExt;
use kinesis_video::local::{Document, Shape};
use kinesis_video::{AudioChunk, FragmentStream, FragmentStreamExt, Party};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::bodies::{Chunking, pieces, stamp};

/// A block of audio. The salt makes its samples unlike all others.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub party: usize,
    pub millis: u64,
    pub samples: usize,
    pub salt: u64,
}

#[derive(Clone, Debug, Default)]
pub struct AudioFragment {
    pub contact: Option<&'static str>,
    /// The numbers of the customer's and the agent's track, or 0 for none.
    pub tracks: [u64; 2],
    pub blocks: Vec<Block>,
}

/// The samples of a block: a counter that no other block shares, and noise.
pub fn block_samples(block: &Block) -> Vec<i16> {
    let sample = |i: u64| (block.salt * 40503 + i * 31 + block.party as u64 * 17 + ((i * i * 40503) >> 7) % 29) % 65536;
    (0..block.samples as u64).map(|i| (sample(i) as i64 - 32768) as i16).collect()
}

pub fn audio_document(described: &AudioFragment) -> Document {
    let mut document = Document::new(Shape::Producer)
        .titled("Kinesis Video SDK", "Kinesis Video SDK 1.1.0 JNI 2.0")
        .codec_private(&[0x11, 0x90]);
    let start = described.blocks.iter().map(|block| block.millis).min().unwrap_or_default();
    document = document.cluster_time(start);
    for (number, party) in described.tracks.into_iter().zip(Party::ALL) {
        if number > 0 {
            document = document.audio_track(number, party.track_name(), "A_AAC");
        }
    }
    for block in &described.blocks {
        let payload: Vec<u8> = block_samples(block).iter().flat_map(|sample| sample.to_le_bytes()).collect();
        document = document.block(described.tracks[block.party], (block.millis - start) as i16, true, &payload);
    }
    if let Some(contact) = described.contact {
        document = document.tag("ContactId", contact).tag("MimeType", "audio/L16;rate=8000;channels=1;");
    }
    document
}

pub fn audio_body(call: &[AudioFragment]) -> Bytes {
    let documents =
        call.iter().zip(1..).map(|(described, ordinal)| audio_document(described).to_bytes(&stamp(ordinal), 5));
    documents.collect::<Vec<_>>().concat().into()
}

/// The audio that the judge's script computes for conversations.
pub fn judged_audio(calls: &[Vec<AudioFragment>]) -> Vec<Value> {
    let blocks = |described: &AudioFragment| -> Vec<Value> {
        described.blocks.iter().map(|b| json!([b.party, b.millis, b.samples, b.salt])).collect()
    };
    let described: Vec<Vec<Value>> = calls
        .iter()
        .map(|call| call.iter().map(|d| json!({"contact": d.contact, "blocks": blocks(d)})).collect())
        .collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/connect_audio.py");
    let mut child = Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = serde_json::to_vec(&described).unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A contact: the samples of each party, and the holes that were filled.
type Heard = (Option<String>, [Vec<i16>; 2], [Vec<(u64, u64)>; 2]);

/// The same for received chunks.
pub fn summarize(chunks: &[AudioChunk]) -> Value {
    let mut contacts: Vec<Heard> = Vec::new();
    for chunk in chunks {
        let id = chunk.contact_id().map(ToOwned::to_owned);
        if contacts.last().is_none_or(|last| last.0 != id) {
            contacts.push((id, Default::default(), Default::default()));
        }
        let (_, audio, holes) = contacts.last_mut().unwrap();
        let lane = usize::from(chunk.party() == Party::ToCustomer);
        assert_eq!(chunk.position(), audio[lane].len() as u64, "chunks of a party continue each other");
        if chunk.is_filled() {
            assert!(chunk.samples().iter().all(|sample| *sample == 0));
            match holes[lane].last_mut().filter(|(from, length)| from + length == chunk.position()) {
                Some((_, length)) => *length += chunk.samples().len() as u64,
                None => holes[lane].push((chunk.position(), chunk.samples().len() as u64)),
            }
        }
        audio[lane].extend(chunk.samples());
    }
    let party = |(audio, holes): (&Vec<i16>, &Vec<(u64, u64)>)| {
        let bytes: Vec<u8> = audio.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        json!([audio.len(), hash, holes])
    };
    let one = |(id, audio, holes): &Heard| json!([id, audio.iter().zip(holes).map(party).collect::<Vec<_>>()]);
    contacts.iter().map(one).collect()
}

pub async fn read_audio(body: &Bytes, chunking: Chunking) -> Vec<AudioChunk> {
    FragmentStream::from_stream(pieces(body, chunking)).connect_audio().try_collect().await.unwrap()
}

/// The time of the first block of a conversation, in milliseconds.
pub const START: u64 = 1_700_000_000_000;

/// Fragments of about 1 s in which both parties speak all the time.
pub fn steady(contact: Option<&'static str>, first: u64, fragments: u64) -> Vec<AudioFragment> {
    let fragment = |index: u64| {
        let blocks = (0..16).flat_map(|block| {
            [0, 1].map(|party| Block {
                party,
                millis: START + index * 1024 + block * 64,
                samples: 512,
                salt: index * 100 + block,
            })
        });
        AudioFragment { contact, tracks: [1, 2], blocks: blocks.collect() }
    };
    (first..first + fragments).map(fragment).collect()
}

/// Conversations with something unusual, each with a name.
pub fn scenarios() -> Vec<(&'static str, Vec<AudioFragment>)> {
    let change = |change: &dyn Fn(usize, &mut AudioFragment)| {
        let mut call = steady(Some("a"), 0, 5);
        call.iter_mut().enumerate().for_each(|(index, described)| change(index, described));
        call
    };
    let party = |described: &mut AudioFragment, party: usize| described.blocks.retain(|block| block.party != party);
    let mut twice = steady(Some("a"), 0, 5);
    twice.insert(3, twice[1].clone());
    twice.insert(2, twice[1].clone());
    let mut next = steady(Some("a"), 0, 2);
    next.extend(steady(Some("b"), 3, 2));
    next.extend(steady(Some("a"), 9, 1));
    let mut tagless = steady(None, 0, 2);
    tagless.extend(steady(Some("a"), 2, 1));
    tagless.extend(steady(None, 3, 2));
    tagless.extend(steady(Some("b"), 5, 1));
    tagless.extend(steady(None, 6, 1));
    vec![
        ("steady", steady(Some("a"), 0, 5)),
        ("nobody says which contact", steady(None, 0, 20)),
        ("swapped numbers", change(&|index, d| d.tracks = if index % 2 == 0 { [1, 2] } else { [2, 1] })),
        ("wide numbers", change(&|_, d| d.tracks = [300, 70_000])),
        ("short blocks", change(&|_, d| d.blocks.iter_mut().skip(4).step_by(5).for_each(|block| block.samples = 96))),
        (
            "jitter",
            change(&|_, d| {
                d.blocks.iter_mut().enumerate().for_each(|(at, block)| block.millis += [0, 8, 3, 7][at / 2 % 4]);
            }),
        ),
        ("holes", change(&|index, d| d.blocks.retain(|block| block.salt % 7 != index as u64))),
        ("a long hole", {
            let mut call = steady(Some("a"), 0, 1);
            call.extend(steady(Some("a"), 60, 1));
            call
        }),
        ("overlaps", change(&|_, d| d.blocks.iter_mut().skip(6).step_by(4).for_each(|block| block.millis -= 20))),
        (
            "blocks that are longer than their time",
            change(&|_, d| d.blocks.iter_mut().for_each(|block| block.samples = 519)),
        ),
        (
            "blocks that are shorter than their time",
            change(&|_, d| d.blocks.iter_mut().for_each(|block| block.samples = 505)),
        ),
        (
            "the agent comes late",
            change(&|index, d| {
                if index < 2 {
                    party(d, 1);
                }
            }),
        ),
        (
            "the customer falls silent",
            change(&|index, d| {
                if index > 2 {
                    party(d, 0);
                }
            }),
        ),
        (
            "only the agent",
            change(&|_, d| {
                party(d, 0);
                d.tracks = [0, 9];
            }),
        ),
        (
            "the agent has no track at first",
            change(&|index, d| {
                if index < 2 {
                    party(d, 1);
                    d.tracks = [1, 0];
                }
            }),
        ),
        ("twice the same", twice),
        ("contacts", next),
        ("tagless", tagless),
        (
            "nothing in it",
            change(&|index, d| {
                if index == 2 {
                    d.blocks.clear();
                }
            }),
        ),
        (
            "odd sizes",
            change(&|_, d| d.blocks.iter_mut().enumerate().for_each(|(at, block)| block.samples = 400 + at * 7)),
        ),
    ]
}

/// The channels of a file, as Python's `wave` reads them.
pub fn wav_channels(path: &Path) -> Vec<Vec<i16>> {
    let script = "import sys, wave\n\
        file = wave.open(sys.argv[1])\n\
        assert (file.getframerate(), file.getsampwidth()) == (8000, 2)\n\
        sys.stdout.buffer.write(bytes([file.getnchannels()]) + file.readframes(file.getnframes()))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let (channels, samples) = output.stdout.split_first().unwrap();
    let samples: Vec<i16> = samples.chunks(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
    let channels = usize::from(*channels);
    (0..channels).map(|channel| samples.iter().skip(channel).step_by(channels).copied().collect()).collect()
}

/// Channels and frames of a WAV file, by ffprobe and by sox.
pub fn probe_wav(path: &Path) -> [(u64, u64); 2] {
    let entries = "stream=channels,duration_ts,sample_rate,codec_name";
    let output =
        Command::new("ffprobe").args(["-v", "error", "-show_entries", entries, "-of", "json"]).arg(path).output();
    let output = output.expect("ffprobe runs: `make test` installs it");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &json["streams"][0];
    assert_eq!((stream["codec_name"].as_str(), stream["sample_rate"].as_str()), (Some("pcm_s16le"), Some("8000")));
    let sox = |what: &str| -> u64 {
        let output = Command::new("sox").args(["--info", what]).arg(path).output();
        let output = output.expect("sox runs: `make test` installs it");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    assert_eq!((sox("-r"), sox("-b")), (8000, 16));
    let of_ffprobe = (stream["channels"].as_u64().unwrap(), stream["duration_ts"].as_u64().unwrap());
    [of_ffprobe, (sox("-c"), sox("-s"))]
}

/// The samples of each party in a contact, padded with silence to the same length.
pub fn party_samples(chunks: &[AudioChunk], contact: Option<&str>) -> [Vec<i16>; 2] {
    let of = |party: Party| -> Vec<i16> {
        let of = chunks.iter().filter(|chunk| chunk.party() == party && chunk.contact_id() == contact);
        of.flat_map(|chunk| chunk.samples().to_vec()).collect()
    };
    let mut parties = Party::ALL.map(of);
    let length = parties.iter().map(Vec::len).max().unwrap();
    parties.iter_mut().for_each(|samples| samples.resize(length, 0));
    parties
}
