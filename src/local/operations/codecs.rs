//! Checks that the tracks of a stream can be played.

use crate::fragment::{Fragment, Track};
use crate::local::server::wire::ErrorResponse;
use crate::mux::codec::asc::AudioSpecificConfig;
use crate::packet::ParameterSets;

/// The format that the tracks are converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Played {
    HlsMp4,
    HlsTs,
    Dash,
    Clip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    H264,
    H265,
    Aac,
    /// G.711, A-law or mu-law.
    G711,
}

impl Codec {
    fn of(track: &Track) -> Option<Self> {
        Some(match track.codec_id() {
            "V_MPEG4/ISO/AVC" => Self::H264,
            "V_MPEGH/ISO/HEVC" => Self::H265,
            "A_AAC" => Self::Aac,
            "A_MS/ACM" => Self::G711,
            _ => return None,
        })
    }
}

/// The format tags of WAVEFORMATEX.
const ALAW: u16 = 6;
const MULAW: u16 = 7;

/// Checks the tracks of a fragment: first their codecs, then their codec private data.
pub(crate) fn check(tracks: &[Track], played: Played) -> Result<(), ErrorResponse> {
    check_each(&tracks.iter().collect::<Vec<_>>(), played)
}

/// Checks these tracks of a fragment, as [`check`] does.
pub(crate) fn check_each(tracks: &[&Track], played: Played) -> Result<(), ErrorResponse> {
    let track = |number: u64| tracks.iter().copied().find(|track| track.number() == number);
    let (first, second) = (track(1), track(2));
    let unsupported = || {
        let name = |track: Option<&Track>| track.map_or("missing".into(), |track| format!("{:?}", track.codec_id()));
        let (first, second) = (name(first), name(second));
        let message = format!("The codecs cannot be played: track 1 is {first}, track 2 is {second}");
        ErrorResponse::new("UnsupportedStreamMediaTypeException", message)
    };
    let codecs = (first.and_then(Codec::of), second.map(Codec::of));
    match (codecs, played) {
        ((Some(Codec::Aac), None), Played::HlsMp4 | Played::HlsTs | Played::Dash)
        | ((Some(Codec::H264), None | Some(Some(Codec::Aac))), _)
        | ((Some(Codec::H265), None | Some(Some(Codec::Aac))), Played::HlsMp4 | Played::Dash | Played::Clip)
        | ((Some(Codec::H264), Some(Some(Codec::G711))), Played::Dash | Played::Clip) => {}
        _ => return Err(unsupported()),
    }
    for track in [first, second].into_iter().flatten() {
        let number = track.number();
        let Some(private) = track.codec_private().filter(|private| !private.is_empty()) else {
            let message = format!("No codec private data was found in track {number}");
            return Err(ErrorResponse::new("MissingCodecPrivateDataException", message));
        };
        let Some(readable) = read(track, private) else {
            let message = format!("The codec private data of track {number} is not valid");
            return Err(ErrorResponse::new("InvalidCodecPrivateDataException", message));
        };
        match (readable, played) {
            (Private::Wave(ALAW), _) | (Private::Wave(MULAW), Played::Dash) => {}
            (Private::Wave(_), _) => return Err(unsupported()),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a later fragment of a clip has the first one's tracks.
pub(crate) fn check_same(first: &[Track], tracks: &[Track]) -> Result<(), ErrorResponse> {
    let same = |of: fn(&Track) -> (u64, String)| first.iter().map(of).eq(tracks.iter().map(of));
    if !same(|track| (track.number(), track.codec_id().to_owned())) {
        let message = "The tracks change within the clip";
        return Err(ErrorResponse::new("UnsupportedStreamMediaTypeException", message));
    }
    if !first.iter().zip(tracks).all(|(first, track)| first.codec_private() == track.codec_private()) {
        let message = "The codec private data changes within the clip";
        return Err(ErrorResponse::new("InvalidCodecPrivateDataException", message));
    }
    Ok(())
}

/// Checks that the NAL unit lengths in the frames of a fragment add up.
pub(crate) fn check_frames(fragment: &Fragment) -> Result<(), ErrorResponse> {
    for track in fragment.tracks().iter() {
        let Ok(Some(sets)) = ParameterSets::of_track(track) else { continue };
        for packet in fragment.packets().filter(|packet| packet.track_number() == track.number()) {
            let is_read = sets.units(packet.payload()).is_ok_and(|units| !units.are_byte_stream);
            if !is_read || packet.payload().is_empty() {
                let number = fragment.number().map_or("", |number| number.as_str());
                let message = format!("A frame of fragment {number} could not be parsed");
                return Err(ErrorResponse::new("InvalidMediaFrameException", message));
            }
        }
    }
    Ok(())
}

enum Private {
    Sets,
    Audio,
    /// WAVEFORMATEX, with its format tag.
    Wave(u16),
}

fn read(track: &Track, private: &[u8]) -> Option<Private> {
    let is_full = |sets: ParameterSets| (sets.iter().next().is_some()).then_some(Private::Sets);
    match Codec::of(track)? {
        Codec::H264 => is_full(ParameterSets::from_avcc(private).ok()?),
        Codec::H265 => is_full(ParameterSets::from_hvcc(private).ok()?),
        Codec::Aac => AudioSpecificConfig::read(private).map(|_| Private::Audio),
        Codec::G711 => {
            // Some producers write WAVEFORMAT: WAVEFORMATEX without its last member.
            private.get(..16)?;
            private.first_chunk().map(|tag| Private::Wave(u16::from_le_bytes(*tag)))
        }
    }
}
