//! Mutated bodies.

use bytes::Bytes;

use crate::fuzz;
use crate::media::{self, CAPTURES, capture};
use crate::rounds::rounds;

/// A seeded generator of pseudo-random numbers (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

/// Returns the body with one to four mutations.
///
/// A mutation is one of these: a flipped bit, a byte with a meaning in EBML, a huge size, a piece removed, repeated,
/// overwritten or inserted from another body, or a truncation.
pub fn mutated(body: &[u8], others: &[Bytes], random: &mut Random) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=random.next(4) {
        let at = random.next(body.len());
        let length = random.next(40).min(body.len() - at);
        match random.next(9) {
            _ if body.is_empty() => {}
            0 | 1 => body[at] ^= 1 << random.next(8),
            2 => body[at] = [0, 0xFF, 0x80, 0x01, 0x1A, 0xA3, 0xEC, 0x7F][random.next(8)],
            3 => body[at..]
                .iter_mut()
                .take(8)
                .zip([1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xF0])
                .for_each(|(old, new)| *old = new),
            4 => drop(body.drain(at..at + length)),
            5 => {
                let piece = body[at..at + length].to_vec();
                body.splice(at..at, piece);
            }
            6 => {
                let other = &others[random.next(others.len())];
                let from = random.next(other.len());
                let piece = other[from..].iter().copied().take(length * 4).collect::<Vec<_>>();
                body.splice(at..at, piece);
            }
            7 => body.truncate(at),
            _ => body[at..at + length].fill(random.next(256) as u8),
        }
    }
    body
}

fn small_bodies() -> Vec<Bytes> {
    let bodies = media::bodies().into_iter().map(|(_, body)| body);
    bodies.filter(|body| !body.is_empty()).map(|body| body.slice(..body.len().min(6000))).collect()
}

#[test]
fn mutated_bodies_never_panic() {
    let bodies = small_bodies();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..rounds(100_000) {
        let body = &bodies[random.next(bodies.len())];
        let input = mutated(body, &bodies, &mut random);
        let target =
            [fuzz::fragment_chunks, fuzz::ebml_events, fuzz::round_trip, fuzz::block_lacing][(round % 4) as usize];
        target(&input);
    }
}

#[test]
fn mutated_captures_never_panic() {
    let captures: Vec<Bytes> = CAPTURES.into_iter().filter_map(capture).collect();
    let mut random = Random(7);
    for _ in 0..rounds(60) {
        for body in &captures {
            // The slice contains a boundary of documents, so that it is not all one block.
            let start = random.next(body.len() - 300_000);
            let documents = body.slice(start..start + 300_000);
            fuzz::fragment_chunks(&mutated(&documents, &captures, &mut random));
            fuzz::fragment_chunks(&mutated(&body.slice(..600_000), &captures, &mut random));
        }
    }
}

/// Also writes the bodies to the folder `KVS_CORPUS`, as a seed corpus for the fuzzers.
#[test]
fn the_fuzzing_corpus_never_panics() {
    if let Some(folder) = std::env::var_os("KVS_CORPUS") {
        std::fs::create_dir_all(&folder).unwrap();
        for (index, body) in small_bodies().iter().enumerate() {
            std::fs::write(std::path::Path::new(&folder).join(index.to_string()), body).unwrap();
        }
    }
    for body in small_bodies() {
        for length in [body.len(), body.len() / 2, body.len() - 1] {
            let input = &body[..length];
            fuzz::ebml_events(input);
            fuzz::fragment_chunks(input);
            fuzz::block_lacing(&input[..length.min(300)]);
            fuzz::round_trip(&[&[255; 64], input].concat());
            fuzz::round_trip(input);
        }
    }
}
