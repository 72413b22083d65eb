//! `moov`: the description of the tracks, with or without samples.

use mp4_atom::{
    Dinf, Dref, DrefEntry, Elst, ElstEntry, FixedPoint, FourCC, Hdlr, Matrix, Mdhd, Mvhd, Smhd, Tkhd, Trex, Url, Vmhd,
};

use super::TIMESCALE;
use super::boxes::Pieces;
use super::track::Mp4Track;
use crate::error::Result;

/// Returns the `moov` at the start of a fragmented file.
pub(super) fn fragmented(tracks: &[Mp4Track], created: u64) -> Result<Pieces> {
    let mut moov = Pieces::new();
    moov.atom(&header(tracks, created, 0))?;
    let mut defaults = Pieces::new();
    for track in tracks {
        // The media may start late, which the time of the first `moof` says.
        let edits = if track.delay > 0 { vec![edit(0, track.delay)] } else { Vec::new() };
        let mut tables = Pieces::new();
        for kind in [b"stts", b"stsc", b"stco"] {
            tables.full_box(kind, Pieces::from(vec![0; 4]));
        }
        tables.full_box(b"stsz", Pieces::from(vec![0; 8]));
        describe(track, created, 0, edits, tables, &mut moov)?;
        defaults.atom(&Trex { track_id: track.id, default_sample_description_index: 1, ..Trex::default() })?;
    }
    moov.boxed(b"mvex", defaults);
    let mut all = Pieces::new();
    all.boxed(b"moov", moov);
    Ok(all)
}

/// Returns the `moov` at the end of a finalised file.
pub(super) fn complete(tracks: Vec<Mp4Track>, created: u64) -> Result<Pieces> {
    let mut moov = Pieces::new();
    let duration = tracks.iter().map(|track| late(track) + shown(track)).max().unwrap_or(0);
    moov.atom(&header(&tracks, created, duration))?;
    for mut track in tracks {
        // Sample tables begin at 0, so an empty edit says how much later the media starts.
        let mut edits = Vec::new();
        if late(&track) > 0 {
            edits.push(ElstEntry { segment_duration: late(&track), media_time: None, media_rate: 1.into() });
        }
        if late(&track) > 0 || track.delay > 0 {
            edits.push(edit(shown(&track), track.delay));
        }
        let mut tables = Pieces::new();
        std::mem::take(&mut track.tables).write(track.last_duration(), &mut tables);
        let duration = late(&track) + shown(&track);
        describe(&track, created, duration, edits, tables, &mut moov)?;
    }
    let mut all = Pieces::new();
    all.boxed(b"moov", moov);
    Ok(all)
}

/// Returns how long after the start of the file the media of a track starts, in the time scale of the file.
fn late(track: &Mp4Track) -> u64 {
    scaled(track.start.unwrap_or(0), track.timescale)
}

/// Returns how long the media of a track is presented, in the time scale of the file.
fn shown(track: &Mp4Track) -> u64 {
    scaled(track.presented(), track.timescale)
}

fn scaled(ticks: i64, timescale: u32) -> u64 {
    let ticks = u128::try_from(ticks).unwrap_or(0) * u128::from(TIMESCALE);
    u64::try_from(ticks / u128::from(timescale.max(1))).unwrap_or(u64::MAX)
}

fn edit(duration: u64, start: i64) -> ElstEntry {
    ElstEntry { segment_duration: duration, media_time: Some(u64::try_from(start).unwrap_or(0)), media_rate: 1.into() }
}

fn header(tracks: &[Mp4Track], created: u64, duration: u64) -> Mvhd {
    Mvhd {
        creation_time: created,
        modification_time: created,
        timescale: TIMESCALE,
        duration,
        rate: 1.into(),
        volume: 1.into(),
        matrix: Matrix::default(),
        next_track_id: u32::try_from(tracks.len()).unwrap_or(0) + 1,
    }
}

/// Appends a `trak` with these tables.
fn describe(
    track: &Mp4Track,
    created: u64,
    duration: u64,
    edits: Vec<ElstEntry>,
    tables: Pieces,
    out: &mut Pieces,
) -> Result<()> {
    let is_audio = track.entry.audio().is_some();
    let (width, height) = track.entry.displayed();
    let mut trak = Pieces::new();
    trak.atom(&Tkhd {
        creation_time: created,
        modification_time: created,
        track_id: track.id,
        duration,
        alternate_group: u16::from(is_audio),
        enabled: true,
        in_movie: true,
        volume: FixedPoint::from(u8::from(is_audio)),
        matrix: track.entry.matrix(),
        width: width.into(),
        height: height.into(),
        ..Tkhd::default()
    })?;
    if !edits.is_empty() {
        let mut edts = Pieces::new();
        edts.atom(&Elst { entries: edits })?;
        trak.boxed(b"edts", edts);
    }
    let mut mdia = Pieces::new();
    mdia.atom(&Mdhd {
        creation_time: created,
        modification_time: created,
        timescale: track.timescale,
        duration: u64::try_from(track.duration()).unwrap_or(0),
        language: "und".into(),
    })?;
    let (handler, name) = if is_audio { (b"soun", "audio") } else { (b"vide", "video") };
    mdia.atom(&Hdlr { handler: FourCC::new(handler), name: name.into() })?;
    let mut minf = Pieces::new();
    match is_audio {
        true => minf.atom(&Smhd::default())?,
        false => minf.atom(&Vmhd::default())?,
    }
    minf.atom(&Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } })?;
    let mut stbl = Pieces::new();
    let mut entries = Pieces::from(1u32.to_be_bytes().to_vec());
    entries.push(track.entry.to_bytes()?);
    stbl.full_box(b"stsd", entries);
    stbl.append(tables);
    minf.boxed(b"stbl", stbl);
    mdia.boxed(b"minf", minf);
    trak.boxed(b"mdia", mdia);
    out.boxed(b"trak", trak);
    Ok(())
}
