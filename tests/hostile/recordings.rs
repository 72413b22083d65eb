//! Records mutated fragments: nothing panics, and no file claims more than it has.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use kinesis_video::sink::Format;
use kinesis_video::{ErrorKind, Fragment, FragmentStream, Gaps, MkvFileSink, Mp4Sink, RecordExt, RecordingSink};

use crate::containers::{matroska, mp4_samples};
use crate::media::{self, CAMERA, CAPTURES, capture, connect_document, live_body, merged_body};
use crate::mutation::{Random, mutated};
use crate::rounds::rounds;

/// What became of the rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    files: usize,
    errors: usize,
    samples: usize,
}

/// The fragments of a body, up to an error.
async fn fragments_of(body: &[u8]) -> Vec<Fragment> {
    let stream = FragmentStream::new(body).resync(true);
    stream.take_while(|item| std::future::ready(item.is_ok())).map(Result::unwrap).collect().await
}

async fn recorded<F: Format>(
    fragments: &[Fragment],
    mut sink: RecordingSink<F>,
    random: &mut Random,
    outcomes: &mut Outcomes,
) -> Vec<kinesis_video::RecordedFile> {
    if random.next(4) == 0 {
        sink = sink.every(Duration::from_secs(1)).aligned(random.next(2) == 0);
    }
    if random.next(8) == 0 {
        sink = sink.max_bytes(random.next(20_000) as u64);
    }
    if random.next(3) == 0 {
        sink = sink.gaps(Gaps::Close);
    }
    let result = futures::stream::iter(fragments.iter().cloned().map(Ok)).record(&mut sink).await;
    match result {
        Ok(summary) => {
            assert_eq!(summary.items(), fragments.len() as u64);
            assert_eq!(summary.files(), sink.files().len() as u64);
        }
        Err(error) => {
            // The text says in which fragment or track.
            let position = error.position();
            let kinds = [ErrorKind::Unsupported, ErrorKind::Malformed, ErrorKind::Limit];
            assert!(kinds.contains(&error.kind()), "{error}");
            // Fragments of plain files have no number, and a mutation may take it.
            let is_numbered = fragments.iter().all(|fragment| fragment.number().is_some());
            assert!(position.fragment().is_some() || !is_numbered, "an error does not say where: {error}");
            outcomes.errors += 1;
        }
    }
    let of_files: u64 = sink.files().iter().map(kinesis_video::RecordedFile::fragments).sum();
    assert!(of_files <= fragments.len() as u64);
    outcomes.files += sink.files().len();
    sink.files().to_vec()
}

async fn assert_harmless(bodies: &[Bytes], rounds: u64, seed: u64) -> Outcomes {
    let mut random = Random(seed);
    let mut outcomes = Outcomes::default();
    for round in 0..rounds {
        let body = mutated(&bodies[random.next(bodies.len())], bodies, &mut random);
        let fragments = fragments_of(&body).await;
        let packets: usize = fragments.iter().map(|fragment| fragment.packets().count()).sum();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(["a.mp4", "a.mov", "a.mkv"][random.next(3)]);
        if path.extension().is_some_and(|extension| extension == "mkv") {
            let sink = MkvFileSink::create(&path).keep_tags(random.next(2) == 0);
            let before = outcomes.errors;
            let files = recorded(&fragments, sink, &mut random, &mut outcomes).await;
            let mut blocks = 0;
            for file in &files {
                let bytes = std::fs::read(file.path()).unwrap();
                assert_eq!(bytes.len() as u64, file.bytes(), "round {round}");
                blocks += matroska(&bytes).unwrap_or_else(|why| panic!("round {round}: {why}")).blocks;
            }
            // Nothing received is lost.
            assert!(
                blocks == packets || outcomes.errors > before && blocks <= packets,
                "{round}: {blocks} of {packets}"
            );
            outcomes.samples += blocks;
        } else {
            let sink = Mp4Sink::create(&path).fragmented(random.next(2) == 0);
            for file in recorded(&fragments, sink, &mut random, &mut outcomes).await {
                let mut opened = std::fs::File::open(file.path()).unwrap();
                assert_eq!(opened.metadata().unwrap().len(), file.bytes(), "round {round}");
                let tracks = mp4_samples(&mut opened).unwrap_or_else(|why| panic!("round {round}: {why}"));
                outcomes.samples += tracks.values().map(Vec::len).sum::<usize>();
            }
        }
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            // Only a failure to write leaves an unfinished file.
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".part"), "round {round}: {name}");
        }
    }
    println!("{rounds} rounds: {outcomes:?}");
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_fragments_are_recorded_or_refused() {
    let mut bodies: Vec<Bytes> =
        media::bodies().into_iter().map(|(_, body)| body).filter(|body| !body.is_empty()).collect();
    bodies.push(live_body((1..=3).map(connect_document)));
    bodies.push(merged_body(true));
    // Most rounds are of media that is recorded when it is whole.
    for _ in 0..20 {
        bodies.push(Bytes::from_static(CAMERA));
    }
    let outcomes = assert_harmless(&bodies, rounds(1500), 0x2545_F491_4F6C_DD1D).await;
    assert!(outcomes.files > 100 && outcomes.errors > 100 && outcomes.samples > 1000, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_captures_are_recorded_or_refused() {
    let bodies: Vec<Bytes> = CAPTURES.into_iter().filter_map(capture).map(|body| body.slice(..600_000)).collect();
    if !bodies.is_empty() {
        assert_harmless(&bodies, rounds(60), 9).await;
    }
}
