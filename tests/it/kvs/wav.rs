//! `kvs wav`.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{Lab, assert_shown, signal, until};
use crate::support::bodies::Chunking;
use crate::support::conversation::{
    audio_body, audio_document, party_samples, probe_wav, read_audio, scenarios, steady, wav_channels,
};
use crate::support::files::file_names;

/// Writes the conversations of a scenario as a file.
fn call(lab: &Lab, name: &str, file: &str) {
    let call = scenarios().into_iter().find(|(found, _)| *found == name).unwrap().1;
    std::fs::write(lab.path(file), audio_body(&call)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wav_saves_conversations() {
    let lab = Lab::new().await;
    call(&lab, "the agent comes late", "late.mkv");
    call(&lab, "steady", "steady.mkv");
    call(&lab, "contacts", "contacts.mkv");
    let run = async |line: &str, folder: &str| -> (Vec<String>, String) {
        let output = lab.run(&format!("wav {line} -o {folder}/c.wav")).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = [output.stdout, output.stderr].concat();
        (file_names(&lab.path(folder)), String::from_utf8(told).unwrap())
    };
    let parties = |middle: &str| ["FROM", "TO"].map(|party| format!("c{middle}-AUDIO_{party}_CUSTOMER.wav")).to_vec();
    let (names, told) = run("late.mkv", "stereo").await;
    assert_eq!(names, ["c.wav"]);
    let expected =
        "contact a  from customer 5.120 s, to customer 5.120 s (2.048 s of silence filled in)  stereo/c.wav\n";
    assert!(told.starts_with(expected), "{told}");
    assert!(told.contains("1 contact, 5 fragments, 1 file, "), "{told}");
    assert_eq!(run("steady.mkv --per-party", "parties").await.0, parties(""));
    assert_eq!(run("steady.mkv --per-fragment", "fragments").await.0.len(), 10);
    let several = run("contacts.mkv --stereo", "several").await.0;
    assert_eq!(several, ["c-a-2.wav", "c-a.wav", "c-b.wav"]);
    assert_eq!(run("contacts.mkv --per-party --contact b", "b").await.0, parties(""));
    let output = lab.run("wav steady.mkv --contact z -o z/c.wav").await;
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("never appeared"));
    assert!(!lab.path("z").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_are_told_as_text_and_as_json() {
    let lab = Lab::new().await;
    call(&lab, "contacts", "contacts.mkv");
    let lines = [
        "wav call.mkv -o call.wav",
        "wav contacts.mkv -o calls --json",
        "wav contacts.mkv -o parties/c.wav --per-party",
        "wav call --start earliest --until \"5 fragments\" -o live.wav --per-fragment --quiet",
        "wav door.mkv -o door.wav",
        "wav nothing.mkv -o door.wav",
        "wav notes.mkv -o door.wav",
        "wav call.mkv --contact z -o door.wav",
        "wav nobody --start earliest -o door.wav",
        "wav call.mkv -o -",
        "wav call.mkv -o parties",
        "wav call.mkv -o call.wav --waveform call.gif",
        "wav call.mkv -o call.wav --stereo --per-party",
    ];
    assert_shown("wav", &lab.session(&lines).await);
    assert!(!lab.path("door.wav").exists());
}

/// An older file is replaced by a complete one of the name that was asked for, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn older_files_of_other_names_are_kept() {
    let lab = Lab::new().await;
    let older = ["call.wav", "call-a.wav", "call-a-AUDIO_FROM_CUSTOMER.wav", "call-2.wav"];
    for name in older {
        std::fs::write(lab.path(name), name).unwrap();
    }
    let output = lab.run("wav call.mkv -o call.wav --json").await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["files"], serde_json::json!(["call.wav"]));
    assert_eq!(wav_channels(&lab.path("call.wav")).len(), 2);
    for name in &older[1..] {
        assert_eq!(std::fs::read_to_string(lab.path(name)).unwrap(), *name);
    }
    // With several contacts, their names are those that were asked for.
    call(&lab, "contacts", "contacts.mkv");
    std::fs::write(lab.path("call-b.wav"), "older").unwrap();
    assert!(lab.run("wav contacts.mkv -o call.wav").await.status.success());
    for name in ["call-a.wav", "call-a-2.wav", "call-b.wav"] {
        assert_eq!(wav_channels(&lab.path(name)).len(), 2, "{name}");
    }
    let left: Vec<_> = file_names(lab.dir()).into_iter().filter(|name| name.starts_with("call")).collect();
    let expected = [
        "call-2.wav",
        "call-a-2.wav",
        "call-a-AUDIO_FROM_CUSTOMER.wav",
        "call-a.wav",
        "call-b.wav",
        "call.mkv",
        "call.wav",
    ];
    assert_eq!(left, expected);
}

/// The next run continues a call, and its files do not replace the ones before.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_saved_when_the_files_are_complete() {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("line");
    let fragments = steady(Some("a"), 0, 6);
    for fragment in &fragments[..4] {
        stream.push(&audio_document(fragment));
    }
    let line = "wav line --start earliest --checkpoint line.checkpoint -o line.wav --waveform line.svg --until";
    let output = lab.run(&format!("{line} \"4 fragments\"")).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("the next run continues after fragment "), "{told}");
    let first = wav_channels(&lab.path("line.wav"));
    for fragment in &fragments[4..] {
        stream.push(&audio_document(fragment));
    }
    let output = lab.run(&format!("{line} \"2 fragments\" --json")).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["files"], serde_json::json!(["line-2.wav"]));
    assert_eq!(wav_channels(&lab.path("line.wav")), first);
    let pictures: Vec<_> = file_names(lab.dir()).into_iter().filter(|name| name.ends_with(".svg")).collect();
    assert_eq!(pictures, ["line-2.svg", "line.svg"]);
    // Both together are the call.
    let heard = read_audio(&audio_body(&fragments), Chunking::Whole).await;
    let said = party_samples(&heard, Some("a"));
    let second = wav_channels(&lab.path("line-2.wav"));
    for lane in 0..2 {
        assert!([&first[lane][..], &second[lane][..]].concat() == said[lane]);
    }
    // Nothing is saved if nothing could be written.
    let saved = std::fs::read(lab.path("line.checkpoint")).unwrap();
    stream.push(&audio_document(&steady(Some("b"), 0, 1)[0]));
    let output = lab.run("wav line --checkpoint line.checkpoint --until \"1 fragment\" -o notes.mkv/line.wav").await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(lab.path("line.checkpoint")).unwrap(), saved);
}

/// The position moves on when the file of a contact is complete, not only at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_moves_on_with_each_contact() {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("line");
    let mut numbers = Vec::new();
    for (contact, at) in [("a", 0), ("b", 5_000), ("c", 10_000)] {
        for fragment in steady(Some(contact), at, 3) {
            numbers.push(stream.push(&audio_document(&fragment)).number.to_string());
        }
    }
    let mut kvs = lab.kvs();
    kvs.args(["wav", "line", "--start", "earliest", "--checkpoint", "p", "-o", "c.wav", "--waveform", "c.png"]);
    let mut recorder = kvs.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let saved = || std::fs::read_to_string(lab.path("p")).unwrap_or_default();
    until(|| saved().contains(&numbers[5])).await;
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let expected = ["c-a.png", "c-a.wav", "c-b.png", "c-b.wav", "c-c.wav.part"];
    let mut names = file_names(lab.dir());
    names.retain(|name| name.starts_with("c-"));
    assert_eq!(names, expected);
}

/// Ctrl-C ends the call in good order.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_recorder_completes_its_files() {
    let lab = Lab::new().await;
    let recorder = lab.start("wav call --start earliest -o c.wav --waveform c.svg");
    let part = lab.path("c-a.wav.part");
    until(|| std::fs::metadata(&part).is_ok_and(|there| there.len() > 100_000)).await;
    signal(&recorder, "INT");
    let output = tokio::task::spawn_blocking(move || recorder.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("contact a  from customer "));
    assert!(wav_channels(&lab.path("c.wav"))[0].len() > 20_000 && lab.path("c.svg").exists() && !part.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn waveforms_are_drawn_of_each_contact() {
    let lab = Lab::new().await;
    call(&lab, "contacts", "contacts.mkv");
    call(&lab, "the agent comes late", "late.mkv");
    assert!(lab.run("wav contacts.mkv -o c.wav --waveform new/c.png").await.status.success());
    assert_eq!(file_names(&lab.path("new")), ["c-a-2.png", "c-a.png", "c-b.png"]);
    let png = image::open(lab.path("new/c-b.png")).unwrap();
    assert_eq!((png.width(), png.height()), (1200, 420));
    let output = lab.run("wav late.mkv -o late.wav --waveform late.svg").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let svg = std::fs::read_to_string(lab.path("late.svg")).unwrap();
    for text in ["Contact a", "5.1 s, 2.0 s of silence filled in", "Customer", "Agent", "0:05", "audio is missing"] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    // The audio is saved also if the picture cannot be.
    let output = lab.run("wav late.mkv -o again.wav --waveform notes.mkv/late.svg").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot create the folder notes.mkv"));
    assert_eq!(wav_channels(&lab.path("again.wav")).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_killed_recorder_can_be_read() {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("line");
    let call = steady(Some("a"), 0, 6);
    let mut kvs = lab.kvs();
    kvs.args(["wav", "line", "--start", "earliest", "-o", "call.wav"]).stdout(Stdio::null());
    let mut recorder = kvs.spawn().unwrap();
    let part = lab.path("call-a.wav.part");
    for (at, described) in (1..).zip(&call) {
        stream.push(&audio_document(described));
        let there = |path: &Path| std::fs::metadata(path).map_or(0, |there| there.len());
        until(|| there(&part) >= at * 8192 / 800 * 800 * 4).await;
    }
    // The header may be written a moment after the samples.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recorder.kill().unwrap(); // SIGKILL
    recorder.wait().unwrap();
    let frames = 6 * 8192 / 800 * 800;
    assert_eq!(probe_wav(&part), [(2, frames); 2]);
    let heard = read_audio(&audio_body(&call), Chunking::Whole).await;
    let said = party_samples(&heard, Some("a"));
    let read = wav_channels(&part);
    assert_eq!(read.len(), 2);
    for (read, said) in read.iter().zip(&said) {
        assert!(read[..] == said[..frames as usize]);
    }
}
