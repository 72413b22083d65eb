//! Coded audio: `.audio()` and its conversions.

use bytes::Bytes;
use futures::stream::FusedStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, Shape};
use kinesis_video::mux::{AudioCodec, AudioPackets};
use kinesis_video::packet::Packets;
use kinesis_video::{AudioPacket, Error, ErrorKind, FragmentStream, FragmentStreamExt, PacketStreamExt, Result};
use sha2::{Digest, Sha256};

use crate::support::bodies::{CAMERA, connect_document, live_body};
use crate::support::ffmpeg::ffmpeg_bytes;
use crate::support::footage::{footage, fragment};

fn audio(body: &[u8]) -> AudioPackets<Packets<FragmentStream<&[u8]>>> {
    FragmentStream::new(body).packets().audio()
}

async fn all(body: &[u8]) -> Vec<AudioPacket> {
    audio(body).try_collect().await.unwrap()
}

/// A tone and noise, as different from silence as from each other.
fn sound(seconds: u32, rate: u32) -> String {
    format!(
        "sine=frequency=440:duration={seconds}:sample_rate={rate}[a];anoisesrc=duration={seconds}:sample_rate={rate}:amplitude=0.9:seed=7[b];[a][b]amerge"
    )
}

/// What FFmpeg decodes of a file to 16-bit samples.
fn judged(media: &Bytes, kind: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::with_suffix(format!(".{kind}")).unwrap();
    std::fs::write(file.path(), media).unwrap();
    ffmpeg_bytes(&["-i", file.path().to_str().unwrap()], &["-f", "s16le"])
}

#[tokio::test]
async fn audio_packets_are_those_of_audio_tracks() {
    let camera = fragment(&CAMERA.into()).await;
    let found = all(CAMERA).await;
    let expected = camera.packets().filter(|packet| packet.track_number() == 2);
    assert!(
        found.iter().map(|audio| audio.packet().payload().clone()).eq(expected.map(|packet| packet.payload().clone()))
    );
    assert!(!found.is_empty());
    let config = found[0].config().unwrap();
    assert!(matches!(config.codec(), AudioCodec::Aac { object_type: 2, .. }), "{config:?}");
    assert!(found.iter().all(|audio| std::sync::Arc::ptr_eq(audio.config().unwrap(), config)), "it is shared");

    // Both tracks of Amazon Connect, as the PCM that they are.
    let calls = live_body((1..=3).map(connect_document));
    let found = all(&calls).await;
    assert_eq!(found.len(), 3 * 34);
    for audio in &found {
        let config = audio.config().unwrap();
        assert_eq!((config.codec_string().as_str(), config.sample_rate(), config.channels()), ("sowt", 8000, 1));
        assert_eq!(&audio.to_pcm16().unwrap(), audio.packet().payload());
        let error = audio.to_adts().unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("WAV has"), "{error}");
    }
    let agent: Vec<AudioPacket> = audio(&calls).track(2).try_collect().await.unwrap();
    assert!(agent.len() == 3 * 17 && agent.iter().all(|audio| audio.packet().track_number() == 2));
    assert_eq!(audio(&calls).track(3).try_collect::<Vec<_>>().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_track_that_is_not_audio_is_an_error() {
    let mut packets = audio(CAMERA).track(1);
    let error = packets.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("is not audio but video; the audio tracks of the fragment: 2"), "{error}");
    assert!(packets.next().await.is_none() && packets.is_terminated());
    // So is an error of the packets, once.
    let failing = stream::iter([Err(Error::new(ErrorKind::Io, "gone")), Err(Error::new(ErrorKind::Io, "never seen"))]);
    let mut packets = failing.packets().audio();
    assert_eq!(packets.next().await.unwrap().unwrap_err().message(), "gone");
    assert!(packets.next().await.is_none() && packets.size_hint() == (0, Some(0)));
}

/// An unknown codec is an error only of what needs it: the packets are there, and other tracks work.
#[tokio::test]
async fn unknown_codecs_keep_their_packets() {
    let document = Document::new(Shape::Ffmpeg)
        .audio_track(1, "music", "A_VORBIS")
        .codec_private(&[0x11, 0x90])
        .audio_track(2, "microphone", "A_AAC")
        .block(1, 0, true, b"vorbis")
        .block(2, 0, true, b"aac")
        .block(1, 20, true, b"more");
    let found = all(&live_body([document])).await;
    let payloads: Vec<&[u8]> = found.iter().map(|audio| &audio.packet().payload()[..]).collect();
    assert_eq!(payloads, [&b"vorbis"[..], b"aac", b"more"]);
    for audio in [&found[0], &found[2]] {
        for error in [audio.config().unwrap_err(), audio.to_adts().unwrap_err(), audio.to_pcm16().unwrap_err()] {
            let number = audio.packet().fragment().number().unwrap().to_string();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("A_VORBIS") && error.to_string().contains("track 1"), "{error}");
            assert_eq!(error.position().fragment(), Some(&number[..]));
        }
    }
    assert_eq!(found[1].to_adts().unwrap()[7..], *b"aac");
}

/// Configurations follow the declarations, also when the same number is another track.
#[tokio::test]
async fn configurations_change_with_their_tracks() {
    let of = |private: &[u8]| {
        Document::new(Shape::Producer).codec_private(private).audio_track(2, "m", "A_AAC").block(2, 0, true, &[1])
    };
    let body = live_body([of(&[0x11, 0x90]), of(&[0x11, 0x90]), of(&[0x12, 0x08]), of(&[0]), of(&[0x11, 0x90])]);
    let rates = audio(&body).map_ok(|audio| audio.config().map(|config| config.sample_rate()).ok());
    let rates: Vec<Option<u32>> = rates.try_collect().await.unwrap();
    assert_eq!(rates, [Some(48_000), Some(48_000), Some(44_100), None, Some(48_000)]);
}

#[tokio::test]
async fn pcm_is_what_ffmpeg_decodes() {
    for codec in ["pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le"] {
        let file = footage(&sound(2, 16_000), &["-c:a", codec]);
        let samples: Result<Vec<Bytes>> = all(&file).await.iter().map(AudioPacket::to_pcm16).collect();
        let samples = samples.unwrap().concat();
        let expected = judged(&file, "mkv");
        assert_eq!(samples.len(), 2 * 2 * 2 * 16_000, "{codec}");
        assert!(samples == expected, "{codec}");
    }
    // What needs a decoder says so.
    for (codec, name) in [("aac", "AAC"), ("libopus", "Opus")] {
        let file = footage(&sound(1, 48_000), &["-c:a", codec]);
        let error = all(&file).await[0].to_pcm16().unwrap_err();
        assert!(error.to_string().contains(&format!("{name} needs a decoder")), "{error}");
    }
}

/// FFmpeg takes the headers off again, and finds the frames and the configuration of the source.
#[tokio::test]
async fn adts_frames_are_those_of_the_source() {
    for (rate, channels) in [(48_000, 2), (44_100, 1), (16_000, 1), (8000, 1), (96_000, 2), (48_000, 6)] {
        let arguments = ["-c:a", "aac", "-b:a", "96k", "-ac", &channels.to_string()];
        let file = footage(&sound(2, rate), &arguments);
        let packets = all(&file).await;
        let config = packets[0].config().unwrap();
        assert_eq!((config.sample_rate(), u32::from(config.channels())), (rate, channels));
        assert_eq!(config.codec_string(), "mp4a.40.2");
        let framed: Vec<Bytes> = packets.iter().map(|audio| audio.to_adts().unwrap()).collect();
        let dumped = tempfile::NamedTempFile::with_suffix(".aac").unwrap();
        std::fs::write(dumped.path(), framed.concat()).unwrap();
        let path = dumped.path().to_str().unwrap();
        let arguments = ["-c", "copy", "-bsf:a", "aac_adtstoasc", "-f", "framehash", "-hash", "sha256"];
        let listed = String::from_utf8(ffmpeg_bytes(&["-i", path], &arguments)).unwrap();
        let hashes: Vec<&str> = listed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').nth(5).unwrap().trim())
            .collect();
        let expected: Vec<String> = packets
            .iter()
            .map(|audio| Sha256::digest(audio.packet().payload()).iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        assert!(hashes == expected, "{rate} Hz, {channels} channels: {listed}");
        assert!(listed.contains(&format!("#sample_rate 0: {rate}")), "{listed}");
        assert!(ffmpeg_bytes(&["-xerror", "-i", path], &["-f", "s16le"]).len() > 2 * rate as usize);
    }
}
