//! Films: bodies as the service sends them, with what is known of their packets.

use std::process::Command;

use bytes::Bytes;
use kinesis_video::ebml::id;
use kinesis_video::internals::{Width, Writer};
use kinesis_video::local::Stamp;
use kinesis_video::{Fragment, Packet, Timestamp};
use kinesis_video::{Track, TrackKind};
use sha2::{Digest, Sha256};

use crate::support::bodies::{CAMERA, CAPTURES, capture, connect_document, fragments, live_body, stamp_at};
use crate::support::ffmpeg::{ffprobe_packets, our_packets};
use crate::support::footage::fragment;

/// A body, what its packets are, and a file of the same media that FFmpeg decodes.
pub struct Film {
    pub name: &'static str,
    pub body: Bytes,
    pub tracks: Vec<SourceTrack>,
    /// A file that another program wrote, or the body itself.
    pub original: Bytes,
}

/// A track of a film.
pub struct SourceTrack {
    pub kind: TrackKind,
    /// The bytes of one sample of all channels, for audio that is not coded in frames.
    pub sample_size: Option<usize>,
    /// Samples per second, where `sample_size` is known.
    pub sample_rate: f64,
    /// In stored order.
    pub packets: Vec<SourcePacket>,
}

/// A packet of a film.
#[derive(Clone, Debug)]
pub struct SourcePacket {
    /// The time of its block in milliseconds.
    pub millis: f64,
    pub payload: Bytes,
    pub hash: String,
}

/// The time of the first media of most films, in milliseconds: an absolute time, as producers send it.
pub const START: i64 = 1_764_061_387_250;

impl Film {
    /// A film whose packets this crate reads from the body. Other tests judge that reading.
    pub async fn new(name: &'static str, body: Bytes, original: Bytes) -> Self {
        let fragments = fragments(&body).await;
        let first = fragments.first().expect("a film has fragments");
        let tracks = first.tracks().iter().map(|track| {
            let sample = match track.codec_id() {
                "A_AAC" if track.name().is_some_and(|name| name.starts_with("AUDIO_")) => Some((2, 8000.0)),
                "A_PCM/INT/LIT" => Some((2, 16_000.0)),
                "A_MS/ACM" => Some((1, 8000.0)),
                _ => None,
            };
            let packets = fragments.iter().flat_map(Fragment::packets);
            let packets = packets.filter(|packet| packet.track_number() == track.number()).map(|packet| {
                let hash = Sha256::digest(packet.payload()).iter().map(|byte| format!("{byte:02x}")).collect();
                SourcePacket { millis: packet.timecode_ns() as f64 / 1e6, payload: packet.payload().clone(), hash }
            });
            SourceTrack {
                kind: track.kind(),
                sample_size: sample.map(|(size, _)| size),
                sample_rate: sample.map_or(0.0, |(_, rate)| rate),
                packets: packets.collect(),
            }
        });
        Self { name, tracks: tracks.collect(), body, original }
    }

    /// A film of FFmpeg's encoders, cut into a document for each group of pictures. Media begins at `start`.
    pub async fn encoded(name: &'static str, start: i64, arguments: &str) -> Self {
        let file = encode(arguments);
        let body = cut(&file, start).await;
        let whole = fragment(&file).await;
        assert_eq!(our_packets(&whole), ffprobe_packets(&file), "{name}");
        Self::new(name, body, file).await
    }
}

/// Runs FFmpeg with inputs and encoders, and returns the MKV file that it writes.
pub fn encode(arguments: &str) -> Bytes {
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .args(["-pix_fmt", "yuv420p", "-threads", "1", "-fflags", "+bitexact", "-f", "matroska"])
        .arg(file.path())
        .status();
    assert!(status.expect("ffmpeg runs: `make test` installs it").success(), "{arguments}");
    std::fs::read(file.path()).unwrap().into()
}

/// Cuts a file into documents of the service: before each key frame of its first video track, or every second.
pub async fn cut(file: &Bytes, start: i64) -> Bytes {
    let whole = fragment(file).await;
    let packets: Vec<Packet> = whole.packets().collect();
    let mut body = Vec::new();
    for (group, ordinal) in groups(&whole, &packets).into_iter().zip(1..) {
        body.extend_from_slice(&document(&tracks_element(file), group, start, ordinal));
    }
    body.into()
}

/// Splits packets before each key frame of the first video track. Without one, splits them after each second.
pub fn groups<'a>(file: &Fragment, packets: &'a [Packet]) -> Vec<&'a [Packet]> {
    let video = file.tracks().iter().find(|track| track.kind() == TrackKind::Video).map(Track::number);
    let second = |packet: &Packet| packet.timecode_ns().div_euclid(1_000_000_000);
    let begins = |pair: &[Packet]| match video {
        Some(video) => pair[1].track_number() == video && pair[1].is_key(),
        None => second(&pair[0]) != second(&pair[1]),
    };
    let mut starts = vec![0];
    starts.extend((1..packets.len()).filter(|&at| begins(&packets[at - 1..=at])));
    // The audio before the first picture belongs to its group.
    if let Some(video) = video {
        let first = packets.iter().position(|packet| packet.track_number() == video);
        starts.retain(|&at| at == 0 || Some(at) != first);
    }
    starts.push(packets.len());
    starts.windows(2).map(|ends| &packets[ends[0]..ends[1]]).collect()
}

/// A document of the service with the tracks of a file and these packets.
pub fn document(tracks: &[u8], packets: &[Packet], start: i64, ordinal: u32) -> Vec<u8> {
    let millis = |packet: &Packet| packet.timecode_ns() / 1_000_000 + start;
    let first = packets.first().map_or(start, millis);
    let number = stamp_at(ordinal, START + first + 600, 0).number;
    let clock = START - start + first;
    let stamp = Stamp {
        number,
        server_time: Timestamp::from_millis(clock + 600),
        producer_time: Timestamp::from_millis(clock),
    };
    let mut out = Writer::new();
    out.master(id::EBML, Width::Octets(8), |ebml| {
        ebml.text(id::DOC_TYPE, "matroska");
        ebml.uint(id::DOC_TYPE_VERSION, 4);
        ebml.uint(id::DOC_TYPE_READ_VERSION, 2);
    });
    out.unknown(id::SEGMENT, 8);
    out.master(id::INFO, Width::Minimal, |info| {
        info.uint(id::TIMESTAMP_SCALE, 1_000_000);
        info.text(id::MUXING_APP, "Lavf");
        info.text(id::WRITING_APP, "Lavf");
    });
    out.raw(tracks);
    let seconds = |time: Timestamp| format!("{}.{:03}", time.as_millis() / 1000, time.as_millis() % 1000);
    let tags = [
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", stamp.number.to_string()),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", seconds(stamp.server_time)),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", seconds(stamp.producer_time)),
    ];
    write_tags(&mut out, &tags);
    out.master(id::CLUSTER, Width::Octets(8), |cluster| {
        cluster.uint(id::TIMESTAMP, first as u64);
        for packet in packets {
            let relative = i16::try_from(millis(packet) - first).unwrap();
            let flags = if packet.is_key() { 0x80 } else { 0 };
            let head =
                [0x80 | packet.track_number() as u8, relative.to_be_bytes()[0], relative.to_be_bytes()[1], flags];
            cluster.binary(id::SIMPLE_BLOCK, &[&head[..], packet.payload()].concat());
        }
    });
    write_tags(&mut out, &[("AWS_KINESISVIDEO_CONTINUATION_TOKEN", stamp.number.to_string())]);
    out.into_bytes()
}

fn write_tags(out: &mut Writer, tags: &[(&str, String)]) {
    out.master(id::TAGS, Width::Octets(4), |element| {
        element.master(id::TAG, Width::Octets(4), |tag| {
            for (name, value) in tags {
                tag.master(id::SIMPLE_TAG, Width::Octets(4), |simple| {
                    simple.text(id::TAG_NAME, name);
                    simple.text(id::TAG_STRING, value);
                });
            }
        });
    });
}

/// The bytes of the Tracks element of a file, with its header.
pub fn tracks_element(file: &[u8]) -> Vec<u8> {
    /// An element's id, the length of its header, and its size.
    fn element(bytes: &[u8]) -> (u32, usize, usize) {
        let id_length = bytes[0].leading_zeros() as usize + 1;
        let id = bytes[..id_length].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let size_length = bytes[id_length].leading_zeros() as usize + 1;
        let first = usize::from(bytes[id_length]) & (0x7F >> (size_length - 1));
        let rest = &bytes[id_length + 1..id_length + size_length];
        (id, id_length + size_length, rest.iter().fold(first, |size, byte| size << 8 | usize::from(*byte)))
    }
    let mut at = 0;
    loop {
        let (id, header, size) = element(&file[at..]);
        match id {
            id if id == id::TRACKS.0 => return file[at..at + header + size].to_vec(),
            id if id == id::SEGMENT.0 => at += header,
            _ => at += header + size,
        }
    }
}

/// The fixture of the repository. Its media begins at 0.
pub async fn camera() -> Film {
    let file = Bytes::from_static(CAMERA);
    Film::new("camera", cut(&file, 0).await, file).await
}

/// The captured payloads. Empty without `KVS_CAPTURES`.
pub async fn captured() -> Vec<Film> {
    let mut films = Vec::new();
    for name in CAPTURES {
        if let Some(body) = capture(name) {
            films.push(Film::new(name, body.clone(), body).await);
        }
    }
    films
}

/// Two tracks of PCM that declare AAC, as Amazon Connect sends them. Some blocks are short, so there are gaps.
pub async fn connect() -> Film {
    let body = live_body((1..=4).map(connect_document));
    Film::new("connect", body.clone(), body).await
}

/// Small moving pictures at 15 a second, for 4 seconds.
const PICTURES: &str = "-f lavfi -t 4 -i testsrc2=size=160x120:rate=15";
/// A tone at 16 kHz, for 4 seconds.
const TONE: &str = "-f lavfi -t 4 -i sine=frequency=440:sample_rate=16000";
/// H.264 with a key frame each second.
const H264: &str = "-c:v libx264 -preset veryfast -crf 32 -g 15 -keyint_min 15 -sc_threshold 0";

pub async fn without_b_frames() -> Film {
    Film::encoded("H.264 without B-frames", START, &format!("{PICTURES} {H264} -bf 0")).await
}

pub async fn with_three_b_frames() -> Film {
    let pyramid = "-bf 3 -x264-params b-pyramid=normal:b-adapt=0";
    Film::encoded("H.264 with 3 B-frames and AAC", START, &format!("{PICTURES} {TONE} {H264} {pyramid} -c:a aac")).await
}

pub async fn with_open_groups() -> Film {
    let open = "-bf 3 -x264-params open-gop=1:b-adapt=0";
    let film = Film::encoded("H.264 with open groups", START, &format!("{PICTURES} {H264} {open}")).await;
    let times: Vec<f64> = film.tracks[0].packets.iter().map(|packet| packet.millis).collect();
    let fragments = fragments(&film.body).await;
    let starts: Vec<f64> = fragments.iter().map(|fragment| fragment.header().timecode_ns() as f64 / 1e6).collect();
    // The corpus has what it says: pictures that are presented before the key frame in front of them.
    let leading = starts.iter().skip(1).filter(|start| {
        let at = times.iter().position(|time| time == *start).unwrap();
        times.get(at + 1).is_some_and(|next| next < start)
    });
    assert!(leading.count() >= 2, "{times:?} {starts:?}");
    film
}

pub async fn h265() -> Film {
    let h265 =
        "-c:v libx265 -preset ultrafast -x265-params keyint=15:min-keyint=15:bframes=3:open-gop=0:log-level=none";
    Film::encoded("H.265 and AAC", START, &format!("{PICTURES} {TONE} {h265} -c:a aac")).await
}

pub async fn aac_alone() -> Film {
    Film::encoded("AAC at 44.1 kHz", 0, "-f lavfi -t 4 -i sine=frequency=440:sample_rate=44100 -c:a aac -ac 2").await
}

pub async fn with_g711(encoder: &'static str) -> Film {
    let tone = TONE.replace("16000", "8000");
    Film::encoded(encoder, START, &format!("{PICTURES} {tone} {H264} -bf 2 -c:a {encoder}")).await
}

pub async fn with_pcm() -> Film {
    Film::encoded("PCM", START, &format!("{PICTURES} {TONE} {H264} -bf 2 -c:a pcm_s16le")).await
}

pub async fn with_two_cameras() -> Film {
    let second = PICTURES.replace("testsrc2", "testsrc");
    let both = format!("{PICTURES} {second} -map 0:v -map 1:v {H264} -bf 2");
    Film::encoded("two video tracks", START, &both).await
}

pub async fn at_the_rate_of_films() -> Film {
    let pictures = PICTURES.replace("rate=15", "rate=24000/1001");
    let both = format!("{pictures} {TONE} {} -bf 2 -c:a aac", H264.replace("15", "24"));
    Film::encoded("23.976 pictures a second", START, &both).await
}

pub async fn with_late_audio() -> Film {
    let late = TONE.replace("-f lavfi", "-f lavfi -itsoffset 1.5");
    Film::encoded("audio that starts late", START, &format!("{PICTURES} {late} {H264} -bf 2 -c:a aac")).await
}

pub async fn at_varying_rates() -> Film {
    // Between 36 and 97 milliseconds from picture to picture, also with B-frames.
    let varying = "-vf settb=1/1000,setpts='(N+0.45*sin(N*2))/15/TB' -fps_mode vfr -enc_time_base 1:1000";
    let film =
        Film::encoded("varying rates", START, &format!("{PICTURES} {TONE} {varying} {H264} -bf 2 -c:a aac")).await;
    let mut times: Vec<i64> = film.tracks[0].packets.iter().map(|packet| packet.millis as i64).collect();
    times.sort_unstable();
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(steps.len() > 10, "{steps:?}");
    film
}
