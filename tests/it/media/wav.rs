//! Conversations as WAV files and as stereo.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt};
use kinesis_video::audio::Stereo;
use kinesis_video::local::ConnectCall;
use kinesis_video::{
    AudioChunk, AudioStreamExt, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, MediaSink, Party, RecordExt,
    StereoChunk, Timestamp, WavSink,
};

use crate::support::bodies::{Chunking, fragments};
use crate::support::conversation::{
    AudioFragment, audio_body, party_samples, probe_wav, read_audio, scenarios, steady, wav_channels,
};
use crate::support::files::file_names;

fn call(name: &str) -> Vec<AudioFragment> {
    scenarios().into_iter().find(|(found, _)| *found == name).unwrap().1
}

fn audio(body: &Bytes) -> kinesis_video::audio::ConnectAudio<FragmentStream<&[u8]>> {
    FragmentStream::new(&body[..]).connect_audio()
}

async fn stereo_chunks<S: futures::Stream<Item = kinesis_video::Result<AudioChunk>>>(
    stereo: Stereo<S>,
) -> Vec<StereoChunk> {
    stereo.try_collect().await.unwrap()
}

#[tokio::test]
async fn stereo_channels_stay_in_step() {
    for (name, described) in scenarios() {
        let body = audio_body(&described);
        let chunks = read_audio(&body, Chunking::Whole).await;
        for length in [800, 1, 4096, 1_000_000] {
            let stereo = stereo_chunks(audio(&body).stereo().chunk_bytes(length * 4)).await;
            let mut contacts: Vec<Option<&str>> = stereo.iter().map(StereoChunk::contact_id).collect();
            contacts.dedup();
            let mut sorted = contacts.clone();
            sorted.sort();
            sorted.dedup();
            if sorted.len() == contacts.len() {
                for contact in contacts {
                    let of: Vec<_> = stereo.iter().filter(|chunk| chunk.contact_id() == contact).collect();
                    let [left, right] = party_samples(&chunks, contact);
                    let mut position = 0;
                    for (at, chunk) in of.iter().enumerate() {
                        assert_eq!(chunk.position(), position, "{name}");
                        position += chunk.frames();
                        assert!(chunk.frames() == length as u64 || at + 1 == of.len(), "{name}");
                    }
                    let joined: Vec<i16> = of.iter().flat_map(|chunk| chunk.samples().to_vec()).collect();
                    let expected: Vec<i16> =
                        left.iter().zip(&right).flat_map(|(left, right)| [*left, *right]).collect();
                    assert!(joined == expected, "{name}: {} for {}", joined.len(), expected.len());
                }
            }
        }
    }
    let stereo = stereo_chunks(audio(&audio_body(&call("steady"))).stereo()).await;
    assert!(stereo[..10].iter().all(|chunk| chunk.frames() == 800 && chunk.filled() == [0, 0]));
    assert_eq!(stereo[0].to_bytes()[..2], stereo[0].samples()[0].to_le_bytes());
    let stereo = stereo_chunks(audio(&audio_body(&call("the agent comes late"))).stereo()).await;
    let filled =
        stereo.iter().map(StereoChunk::filled).fold([0, 0], |all, these| [all[0] + these[0], all[1] + these[1]]);
    assert_eq!(filled, [0, 2 * 16 * 512]);
}

#[tokio::test]
async fn files_contain_the_audio_of_both_parties() {
    for (name, described) in scenarios() {
        let dir = tempfile::tempdir().unwrap();
        let body = audio_body(&described);
        let chunks = read_audio(&body, Chunking::Whole).await;
        let mut ids: Vec<Option<&str>> = chunks.iter().map(AudioChunk::contact_id).collect();
        ids.dedup();
        let prefix = dir.path().join("made/call");
        let summary = audio(&body).stereo().record(WavSink::per_contact(&prefix)).await.unwrap();
        assert_eq!(summary.files(), ids.len() as u64, "{name}");
        audio(&body).record(WavSink::per_contact(&prefix)).await.unwrap();
        if ids.len() > 1 {
            // One sink for the whole conversation.
            let error = audio(&body).stereo().record(WavSink::create(dir.path().join("x.wav"))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert_eq!(error.summary().unwrap().files(), 1, "audio before it is kept");
            continue;
        }
        let id = WavSink::contact_in_name(ids[0]);
        let named = |end: &str| dir.path().join(format!("made/call-{id}{end}.wav"));
        let said = party_samples(&chunks, ids[0]);
        assert_eq!(wav_channels(&named("")), said, "{name}");
        assert_eq!(probe_wav(&named("")), [(2, said[0].len() as u64); 2]);
        let both = [0, 1]
            .map(|party| !said[party].is_empty() && chunks.iter().any(|chunk| chunk.party() == Party::ALL[party]));
        for ((party, said), is_there) in Party::ALL.into_iter().zip(&said).zip(both) {
            let path = named(&format!("-{party}"));
            assert_eq!(path.exists(), is_there, "{name}");
            if is_there {
                assert_eq!(&wav_channels(&path)[0], said, "{name}");
                assert_eq!(probe_wav(&path), [(1, said.len() as u64); 2]);
            }
        }
        let bytes: u64 = file_names(&dir.path().join("made"))
            .iter()
            .map(|name| std::fs::metadata(dir.path().join("made").join(name)).unwrap().len())
            .sum();
        assert_eq!(bytes % 2, 0);
        assert!(
            file_names(&dir.path().join("made")).iter().all(|name| name.ends_with(".wav")),
            "no temporary file is left"
        );
    }
}

#[tokio::test]
async fn every_layout_has_its_file_names() {
    let dir = tempfile::tempdir().unwrap();
    let body = audio_body(&call("swapped numbers"));
    let chunks = read_audio(&body, Chunking::Whole).await;
    let said = party_samples(&chunks, Some("a"));

    let one = dir.path().join("call.wav");
    let summary = audio(&body).stereo().record(WavSink::create(&one)).await.unwrap();
    assert_eq!((summary.files(), summary.bytes(), summary.gaps()), (1, std::fs::metadata(&one).unwrap().len(), 0));
    assert_eq!(wav_channels(&one), said);

    for (folder, is_stereo) in [("mono", false), ("split", true)] {
        let prefix = dir.path().join(folder).join("x");
        let sink = WavSink::per_party(&prefix);
        let summary = match is_stereo {
            true => audio(&body).stereo().record(sink).await.unwrap(),
            false => audio(&body).record(sink).await.unwrap(),
        };
        assert_eq!(summary.files(), 2);
        let expected = ["x-AUDIO_FROM_CUSTOMER.wav", "x-AUDIO_TO_CUSTOMER.wav"];
        assert_eq!(file_names(&dir.path().join(folder)), expected);
        let read = expected.map(|name| wav_channels(&dir.path().join(folder).join(name)).remove(0));
        assert_eq!(read, said);
    }

    let one = dir.path().join("agent.wav");
    audio(&body).party(Party::ToCustomer).record(WavSink::create(&one)).await.unwrap();
    assert_eq!(wav_channels(&one), [said[1].clone()]);
    let error = audio(&body).record(WavSink::create(dir.path().join("both.wav"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    // A file for each track of each fragment, as AWS's Python library writes.
    let prefix = dir.path().join("each/f");
    let summary = audio(&body).record(WavSink::per_fragment(&prefix)).await.unwrap();
    assert_eq!(summary.files(), 10);
    for fragment in fragments(&body).await {
        for party in Party::ALL {
            let path = dir.path().join(format!("each/f-{}-{party}.wav", fragment.number().unwrap()));
            let track =
                fragment.tracks().iter().find(|track| track.name() == Some(party.track_name())).unwrap().number();
            let of: Vec<u8> =
                fragment.packets().filter(|p| p.track_number() == track).flat_map(|p| p.payload().to_vec()).collect();
            let of: Vec<i16> = of.chunks(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
            assert_eq!(wav_channels(&path), [of]);
        }
    }
}

#[tokio::test]
async fn the_sink_tells_its_files_and_can_keep_existing_ones() {
    let dir = tempfile::tempdir().unwrap();
    let body = audio_body(&call("contacts"));
    std::fs::write(dir.path().join("c-b.wav"), "older").unwrap();
    let mut sink = WavSink::per_contact(dir.path().join("c")).keep_existing(true);
    let summary = audio(&body).stereo().record(&mut sink).await.unwrap();
    assert_eq!(summary.files(), 3);
    let told: Vec<_> =
        sink.files().iter().map(|file| (file.path().to_owned(), file.contact_id(), file.party())).collect();
    let expected = [("c-a.wav", "a"), ("c-b-2.wav", "b"), ("c-a-2.wav", "a")];
    assert_eq!(told, expected.map(|(name, contact)| (dir.path().join(name), Some(contact), None)));
    assert_eq!(std::fs::read_to_string(dir.path().join("c-b.wav")).unwrap(), "older");

    let mut sink = WavSink::per_contact(dir.path().join("c"));
    audio(&body).record(&mut sink).await.unwrap();
    assert_eq!(sink.files().len(), 6);
    assert_eq!(sink.files()[3].contact_id(), Some("b"));
    assert_eq!(sink.files()[3].party(), Some(Party::ToCustomer));
    // Without the option, an older file is replaced.
    let mut sink = WavSink::per_contact(dir.path().join("c"));
    audio(&body).contact("b").stereo().record(&mut sink).await.unwrap();
    assert_eq!(sink.files()[0].path(), dir.path().join("c-b.wav"));
    assert_eq!(wav_channels(&dir.path().join("c-b.wav")).len(), 2);

    let mut sink = WavSink::per_fragment(dir.path().join("f"));
    audio(&body).record(&mut sink).await.unwrap();
    let contacts: Vec<_> = sink.files().iter().map(|file| file.contact_id().unwrap()).collect();
    assert!(contacts.len() > 6 && contacts.windows(2).filter(|two| two[0] != two[1]).count() == 2, "{contacts:?}");
}

#[tokio::test]
async fn large_files_are_split() {
    let dir = tempfile::tempdir().unwrap();
    let body = audio_body(&call("steady"));
    let said = party_samples(&read_audio(&body, Chunking::Whole).await, Some("a"));
    let sink = WavSink::create(dir.path().join("call.wav")).roll_over_at(60_000);
    let summary = audio(&body).stereo().record(sink).await.unwrap();
    assert_eq!(summary.files(), 3);
    let parts = ["call.wav", "call-2.wav", "call-3.wav"].map(|name| dir.path().join(name));
    let mut joined = vec![Vec::new(), Vec::new()];
    for part in &parts {
        assert!(std::fs::metadata(part).unwrap().len() <= 60_000);
        wav_channels(part).into_iter().zip(&mut joined).for_each(|(part, joined)| joined.extend(part));
    }
    assert_eq!(joined, said);
}

#[tokio::test]
async fn audio_before_a_failure_is_a_complete_file() {
    for fragments in [1, 8, 9, 40] {
        let dir = tempfile::tempdir().unwrap();
        let mut call = steady(Some("a"), 0, fragments);
        call.extend(steady(Some("b"), fragments + 10, 20));
        let path = dir.path().join("call.wav");
        let error = audio(&audio_body(&call)).stereo().record(WavSink::create(&path)).await.unwrap_err();
        assert_eq!((error.kind(), error.summary().unwrap().files()), (ErrorKind::InvalidArgument, 1), "{error}");
        assert_eq!(probe_wav(&path), [(2, fragments * 8192); 2]);
        assert_eq!(file_names(dir.path()), ["call.wav"]);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut sink = WavSink::create(dir.path().join("call.wav"));
    for chunk in stereo_chunks(audio(&audio_body(&steady(Some("a"), 0, 1))).stereo()).await {
        sink.send(chunk).await.unwrap();
    }
    for _ in 0..2 {
        SinkExt::<StereoChunk>::close(&mut sink).await.unwrap();
    }
    let chunk = stereo_chunks(audio(&audio_body(&steady(Some("a"), 0, 1))).stereo()).await.remove(0);
    assert_eq!(sink.send(chunk).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn closing_without_a_runtime_is_an_error() {
    let mut sink = WavSink::create("never.wav");
    let error = futures::executor::block_on(SinkExt::<StereoChunk>::close(&mut sink)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[tokio::test]
async fn a_conversation_without_audio_is_an_error_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut silent = steady(Some("a"), 0, 2);
    silent.iter_mut().for_each(|described| described.blocks.clear());
    for body in [Bytes::new(), audio_body(&silent)] {
        let error = audio(&body).stereo().record(WavSink::create(dir.path().join("call.wav"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.summary().unwrap().files(), 0);
        assert!(file_names(dir.path()).is_empty());
    }
    let sink = WavSink::create("/proc/no/such/folder/call.wav");
    let error = audio(&audio_body(&call("steady"))).stereo().record(sink).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("/proc/no/such/folder"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn real_time_stereo_always_yields() {
    // 1 s of media, then nothing for 10 s, then all the rest at once.
    let fragments = fragments(&audio_body(&steady(Some("a"), 0, 12))).await;
    let (mut feed, source) = futures::channel::mpsc::unbounded::<kinesis_video::Result<Fragment>>();
    let mut stereo = source.connect_audio().stereo().real_time(Duration::from_secs(2));
    let begun = tokio::time::Instant::now();
    feed.send(Ok(fragments[0].clone())).await.unwrap();
    let mut chunks: Vec<StereoChunk> = Vec::new();
    while begun.elapsed() < Duration::from_millis(9_950) {
        chunks.push(stereo.try_next().await.unwrap().unwrap());
        let longest = Duration::from_millis(chunks.len() as u64 * 100) + Duration::from_secs(2);
        assert!(begun.elapsed() <= longest, "each is there when it is due");
    }
    assert!(chunks.iter().all(StereoChunk::is_real_time));
    // 1.024 s of audio, then silence. A chunk is due at the last arrival, plus its distance from it, plus the slack.
    assert_eq!(chunks.len(), 90);
    assert_eq!(chunks.iter().map(|chunk| chunk.filled()[0]).sum::<u64>(), 90 * 800 - 8192);
    for fragment in &fragments[1..] {
        feed.send(Ok(fragment.clone())).await.unwrap();
    }
    drop(feed);
    while let Some(chunk) = stereo.try_next().await.unwrap() {
        chunks.push(chunk);
    }
    let frames: u64 = chunks.iter().map(StereoChunk::frames).sum();
    assert_eq!(frames, 12 * 8192);
    assert_eq!(stereo.late(), 2 * (90 * 800 - 8192), "late audio is dropped and counted");
    // Audio that arrived in time is at its own position.
    let said = party_samples(&read_audio(&audio_body(&steady(Some("a"), 0, 12)), Chunking::Whole).await, Some("a"));
    let left: Vec<i16> =
        chunks.iter().flat_map(|chunk| chunk.samples().iter().step_by(2).copied().collect::<Vec<_>>()).collect();
    assert!(left[..8192] == said[0][..8192] && left[72_000..] == said[0][72_000..]);
    assert!(left[8192..72_000].iter().all(|sample| *sample == 0));

    // After a backlog of ten minutes, silence begins as soon as after 1 s of media.
    let backlog = audio_body(&steady(Some("a"), 0, 600));
    let (mut feed, source) = futures::channel::mpsc::unbounded::<kinesis_video::Result<Fragment>>();
    for fragment in crate::support::bodies::fragments(&backlog).await {
        feed.send(Ok(fragment)).await.unwrap();
    }
    let mut stereo = source.connect_audio().stereo().real_time(Duration::from_secs(2));
    for _ in 0..600 * 8192 / 800 {
        assert_eq!(stereo.try_next().await.unwrap().unwrap().filled(), [0, 0]);
    }
    let begun = tokio::time::Instant::now();
    assert_ne!(stereo.try_next().await.unwrap().unwrap().filled(), [0, 0]);
    assert!(begun.elapsed() < Duration::from_millis(2_150));

    // Audio that is late by 5 s from now on is heard again after that.
    let (mut feed, source) = futures::channel::mpsc::unbounded::<kinesis_video::Result<Fragment>>();
    let mut stereo = source.connect_audio().stereo().real_time(Duration::from_secs(2));
    let feeding = tokio::spawn(async move {
        for (at, fragment) in crate::support::bodies::fragments(&backlog).await.into_iter().take(30).enumerate() {
            feed.send(Ok(fragment)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(if at == 4 { 6_024 } else { 1_024 })).await;
        }
    });
    let (mut silence, mut last) = (0, tokio::time::Instant::now());
    while let Some(chunk) = stereo.try_next().await.unwrap() {
        silence += chunk.filled()[0];
        assert!(last.elapsed() < Duration::from_secs(10), "a session of 15 seconds' patience lives on");
        last = tokio::time::Instant::now();
    }
    feeding.await.unwrap();
    assert!(silence < 6 * 8000, "{silence}");
    for stereo in [
        audio(&Bytes::new()).stereo().chunk_duration(Duration::MAX).real_time(Duration::MAX),
        audio(&Bytes::new()).stereo().chunk_bytes(usize::MAX).real_time(Duration::ZERO),
    ] {
        assert!(stereo_chunks(stereo).await.is_empty());
    }

    let mut sink = WavSink::create("never.wav");
    let error = sink.send(chunks[0].clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(MediaSink::<StereoChunk>::summary(&sink).files(), 0);
}

#[tokio::test]
async fn a_live_file_can_be_read_before_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("call.wav");
    let fragments = fragments(&audio_body(&steady(Some("a"), 0, 4))).await;
    let (mut feed, source) = futures::channel::mpsc::unbounded::<kinesis_video::Result<Fragment>>();
    let recording = tokio::spawn(source.connect_audio().stereo().record(WavSink::create(&path)));
    let part = dir.path().join("call.wav.part");
    for (at, fragment) in (1u64..).zip(fragments) {
        feed.send(Ok(fragment)).await.unwrap();
        // The file has whole chunks of 800 frames. The rest waits for more.
        let frames = at * 8192 / 800 * 800;
        let is_there = || std::fs::metadata(&part).is_ok_and(|there| there.len() == 44 + frames * 4);
        tokio::time::timeout(Duration::from_secs(30), async {
            while !is_there() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // The samples may be written a moment before the header.
            while probe_wav(&part) != [(2, frames); 2] {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
        .expect("it is written while nothing comes");
        assert_eq!(wav_channels(&part)[0].len() as u64, frames);
    }
    drop(feed);
    assert_eq!(recording.await.unwrap().unwrap().files(), 1);
    assert_eq!(probe_wav(&path), [(2, 4 * 8192); 2]);
}

#[tokio::test]
async fn an_hour_of_audio_has_no_drift() {
    let voice = |party: usize, position: u64| (position.wrapping_mul(40_503) + party as u64) as i16;
    let call = ConnectCall::new("hour").duration(Duration::from_secs(3600)).voice(voice);
    let documents = call.documents(Timestamp::from_millis(1_700_000_000_000));
    let stamped = documents.zip(1..).map(|((document, time), ordinal)| {
        let number = kinesis_video::local::fragment_number(ordinal, 0);
        let stamp = kinesis_video::local::Stamp { number, server_time: time, producer_time: time };
        Ok::<_, std::io::Error>(document.to_bytes(&stamp, 0))
    });
    let mut stereo = FragmentStream::from_stream(futures::stream::iter(stamped)).connect_audio().stereo();
    let mut frames = 0;
    while let Some(chunk) = stereo.next().await {
        let chunk = chunk.unwrap();
        assert_eq!((chunk.position(), chunk.filled()), (frames, [0, 0]));
        for (both, at) in chunk.samples().chunks(2).zip(frames..) {
            assert_eq!(both, [voice(0, at), voice(1, at)]);
        }
        let passed = (chunk.producer_time().unwrap().as_nanos() - 1_700_000_000_000_000_000) / 125_000;
        assert_eq!(passed as u64, frames);
        frames += chunk.frames();
    }
    assert_eq!(frames, 3600 * 8000);
    let resident = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = resident.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    eprintln!("an hour of call, made, placed and put side by side; {most}, the tests beside it included");
}
