//! Checks that files of MP4 and Matroska have what they claim. Independent of the muxers.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// What a check returns. The text says what is wrong.
pub type Checked<T> = Result<T, String>;

/// Where the bytes of samples are: their offset and length in the file, in stored order.
pub type Extents = Vec<(u64, u64)>;

/// A box: its type, and where its content begins and ends.
#[derive(Clone, Copy, Debug)]
struct BoxAt {
    kind: [u8; 4],
    start: u64,
    content: u64,
    end: u64,
}

/// The samples of each track of an MP4 file, whole or fragmented.
///
/// Fails unless boxes fill their parents exactly, tables agree on the number of samples, and every sample is in an `mdat`.
pub fn mp4_samples(file: &mut (impl Read + Seek)) -> Checked<BTreeMap<u32, Extents>> {
    let length = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    let top = boxes(file, 0, length)?;
    let mut tracks = BTreeMap::new();
    for moov in top.iter().filter(|found| &found.kind == b"moov") {
        for trak in boxes(file, moov.content, moov.end)?.iter().filter(|found| &found.kind == b"trak") {
            let (track, extents) = table_samples(file, *trak)?;
            tracks.insert(track, extents);
        }
    }
    for moof in top.iter().filter(|found| &found.kind == b"moof") {
        for traf in boxes(file, moof.content, moof.end)?.iter().filter(|found| &found.kind == b"traf") {
            let (track, extents) = run_samples(file, *moof, *traf)?;
            tracks.get_mut(&track).ok_or_else(|| format!("no track {track} is declared"))?.extend(extents);
        }
    }
    let media: Vec<&BoxAt> = top.iter().filter(|found| &found.kind == b"mdat").collect();
    for (track, extents) in &tracks {
        let is_inside = |at: u64, size: u64| {
            let before = media.partition_point(|mdat| mdat.content <= at);
            let mdat = before.checked_sub(1).map(|index| media[index]);
            mdat.zip(at.checked_add(size)).is_some_and(|(mdat, end)| end <= mdat.end)
        };
        let outside = extents.iter().find(|(at, size)| !is_inside(*at, *size));
        if let Some((at, size)) = outside {
            return Err(format!("track {track} claims {size} bytes at {at}, which are not in an mdat"));
        }
    }
    Ok(tracks)
}

fn read(file: &mut (impl Read + Seek), at: u64, length: u64) -> Checked<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
    file.seek(SeekFrom::Start(at)).map_err(|error| error.to_string())?;
    file.read_exact(&mut bytes).map_err(|error| format!("{length} bytes at {at}: {error}"))?;
    Ok(bytes)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The boxes between two offsets.
fn boxes(file: &mut (impl Read + Seek), mut at: u64, end: u64) -> Checked<Vec<BoxAt>> {
    let mut found = Vec::new();
    while at < end {
        let head = read(file, at, 8)?;
        let kind = [head[4], head[5], head[6], head[7]];
        let (size, header) = match number(&head[..4]) {
            1 => (number(&read(file, at + 8, 8)?), 16),
            size => (size, 8),
        };
        if size < header || size > end - at {
            let name = String::from_utf8_lossy(&kind).into_owned();
            return Err(format!("the box {name} at {at} declares {size} bytes, and there are {}", end - at));
        }
        found.push(BoxAt { kind, start: at, content: at + header, end: at + size });
        at += size;
    }
    Ok(found)
}

/// The box at the end of a path of types.
fn find(file: &mut (impl Read + Seek), within: BoxAt, path: &[&[u8; 4]]) -> Checked<Option<BoxAt>> {
    let Some((kind, rest)) = path.split_first() else { return Ok(Some(within)) };
    match boxes(file, within.content, within.end)?.into_iter().find(|found| &found.kind == *kind) {
        Some(found) => find(file, found, rest),
        None => Ok(None),
    }
}

fn content(file: &mut (impl Read + Seek), within: BoxAt, path: &[&[u8; 4]]) -> Checked<Option<Vec<u8>>> {
    match find(file, within, path)? {
        Some(found) => read(file, found.content, found.end - found.content).map(Some),
        None => Ok(None),
    }
}

/// The rows of a table with `columns` numbers of `width` bytes, whose count is at `at`.
fn rows(table: &[u8], at: usize, columns: usize, width: usize) -> Checked<Vec<Vec<u64>>> {
    let count = number(table.get(at..at + 4).ok_or("a table has no count")?) as usize;
    let body = &table[at + 4..];
    if body.len() != count * columns * width {
        return Err(format!("a table of {count} rows has {} bytes", body.len()));
    }
    Ok(body.chunks_exact(columns * width).map(|row| row.chunks_exact(width).map(number).collect()).collect())
}

/// The samples of a `trak`, from its sample tables.
fn table_samples(file: &mut (impl Read + Seek), trak: BoxAt) -> Checked<(u32, Extents)> {
    let header = content(file, trak, &[b"tkhd"])?.ok_or("a track has no tkhd")?;
    let at = if header[0] == 1 { 20 } else { 12 };
    let track = number(&header[at..at + 4]) as u32;
    let stbl = find(file, trak, &[b"mdia", b"minf", b"stbl"])?.ok_or("a track has no sample table")?;
    let sizes = content(file, stbl, &[b"stsz"])?.ok_or("a track has no stsz")?;
    let count = number(&sizes[8..12]) as usize;
    let sizes: Vec<u64> = match number(&sizes[4..8]) {
        0 => rows(&sizes, 8, 1, 4)?.into_iter().flatten().collect(),
        size => vec![size; count],
    };
    let offsets: Vec<u64> = match content(file, stbl, &[b"co64"])? {
        Some(table) => rows(&table, 4, 1, 8)?.into_iter().flatten().collect(),
        None => rows(&content(file, stbl, &[b"stco"])?.ok_or("a track has no chunks")?, 4, 1, 4)?
            .into_iter()
            .flatten()
            .collect(),
    };
    let per_chunk = rows(&content(file, stbl, &[b"stsc"])?.ok_or("a track has no stsc")?, 4, 3, 4)?;
    let mut extents = Vec::new();
    let mut sizes = sizes.into_iter();
    for (index, offset) in (1..).zip(&offsets) {
        let row = per_chunk.iter().rfind(|row| row[0] <= index).ok_or("a chunk has no row in stsc")?;
        let mut at = *offset;
        for _ in 0..row[1] {
            let size = sizes.next().ok_or("the chunks have more samples than stsz")?;
            extents.push((at, size));
            at += size;
        }
    }
    if sizes.next().is_some() {
        return Err(format!("track {track} has samples without a chunk"));
    }
    for name in [b"stts", b"ctts"] {
        let Some(table) = content(file, stbl, &[name])? else { continue };
        let samples: u64 = rows(&table, 4, 2, 4)?.iter().map(|row| row[0]).sum();
        if samples != count as u64 {
            return Err(format!("{} has {samples} samples of {count}", String::from_utf8_lossy(name)));
        }
    }
    if let Some(table) = content(file, stbl, &[b"stss"])? {
        let keys: Vec<u64> = rows(&table, 4, 1, 4)?.into_iter().flatten().collect();
        if !keys.is_sorted() || keys.iter().any(|key| *key < 1 || *key > count as u64) {
            return Err(format!("stss names samples that track {track} does not have"));
        }
    }
    Ok((track, extents))
}

/// The samples of a `traf`, from its runs.
fn run_samples(file: &mut (impl Read + Seek), moof: BoxAt, traf: BoxAt) -> Checked<(u32, Extents)> {
    let header = content(file, traf, &[b"tfhd"])?.ok_or("a traf has no tfhd")?;
    let flags = number(&header[1..4]);
    let track = number(&header[4..8]) as u32;
    if flags & 0x2_0000 == 0 || flags & 1 != 0 {
        return Err("the offsets of a traf do not count from its moof".into());
    }
    let mut at = 8;
    let mut optional = |flag: u64| {
        (flags & flag != 0).then(|| {
            at += 4;
            number(&header[at - 4..at])
        })
    };
    optional(2);
    optional(8);
    let size = optional(0x10);
    let mut extents = Vec::new();
    let mut next = None;
    for trun in boxes(file, traf.content, traf.end)?.into_iter().filter(|found| &found.kind == b"trun") {
        let run = read(file, trun.content, trun.end - trun.content)?;
        let flags = number(&run[1..4]);
        let count = number(&run[4..8]);
        let mut fields = run[8..].chunks_exact(4).map(number);
        let mut field = || fields.next().ok_or("a trun is too short");
        if flags & 1 != 0 {
            let offset = field()? as u32 as i32;
            next = Some(moof.start.checked_add_signed(offset.into()).ok_or("a trun begins before the file")?);
        }
        if flags & 4 != 0 {
            field()?;
        }
        let mut at = next.ok_or("the first trun has no offset")?;
        for _ in 0..count {
            let mut take = |flag| if flags & flag != 0 { field().map(Some) } else { Ok(None) };
            take(0x100)?;
            let own = take(0x200)?;
            take(0x400)?;
            take(0x800)?;
            let size = own.or(size).ok_or("a sample has no size")?;
            extents.push((at, size));
            at += size;
        }
        next = Some(at);
        if fields.next().is_some() {
            return Err("a trun has more than its samples".into());
        }
    }
    Ok((track, extents))
}

/// What a Matroska file has: the offsets of its Clusters, and the number of its blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matroska {
    pub clusters: Vec<u64>,
    pub blocks: usize,
}

/// The Clusters and blocks of a complete Matroska file.
///
/// Fails unless elements fill the file exactly, and SeekHead and Cues point at what they say.
pub fn matroska(file: &[u8]) -> Checked<Matroska> {
    let mut found = Matroska::default();
    let mut segment = None;
    let mut pointers = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let (id, content, end) = element(file, at, file.len())?;
        match id {
            0x1A45_DFA3 if at == 0 => at = end,
            0x1853_8067 if segment.is_none() => {
                if end != file.len() {
                    return Err(format!("the Segment ends at {end} of {}", file.len()));
                }
                segment = Some(content);
                at = content;
            }
            0x1F43_B675 => {
                found.clusters.push(at as u64);
                found.blocks +=
                    children(file, content, end)?.iter().filter(|(id, ..)| [0xA3, 0xA0].contains(id)).count();
                at = end;
            }
            // SeekHead: pairs of an id and a position.
            0x114D_9B74 => {
                for (_, content, end) in children(file, content, end)?.iter().filter(|(id, ..)| *id == 0x4DBB) {
                    let of = |wanted: u64| -> Checked<u64> {
                        let fields = children(file, *content, *end)?;
                        let field = fields.iter().find(|(id, ..)| *id == wanted).ok_or("a Seek is incomplete")?;
                        Ok(number(&file[field.1..field.2]))
                    };
                    pointers.push((of(0x53AB)?, of(0x53AC)?));
                }
                at = end;
            }
            0x1C53_BB6B => {
                for (_, content, end) in children(file, content, end)?.iter().filter(|(id, ..)| *id == 0xBB) {
                    for (_, content, end) in children(file, *content, *end)?.iter().filter(|(id, ..)| *id == 0xB7) {
                        let fields = children(file, *content, *end)?;
                        let field = fields.iter().find(|(id, ..)| *id == 0xF1).ok_or("a cue has no position")?;
                        pointers.push((0x1F43_B675, number(&file[field.1..field.2])));
                    }
                }
                at = end;
            }
            _ => at = end,
        }
    }
    let segment = segment.ok_or("there is no Segment")?;
    for (id, position) in pointers {
        let at = segment as u64 + position;
        let there = element(file, at as usize, file.len()).map(|(id, ..)| id);
        if there.as_ref() != Ok(&id) {
            return Err(format!("{id:X} is said to be at {at}, and there is {there:X?}"));
        }
    }
    Ok(found)
}

/// The id of an element, and where its content begins and ends. All sizes must be known.
fn element(file: &[u8], at: usize, end: usize) -> Checked<(u64, usize, usize)> {
    let cut = || format!("an element at {at} is cut");
    let id_length = file.get(at).map(|byte| byte.leading_zeros() as usize + 1).filter(|length| *length <= 4);
    let id_length = id_length.ok_or_else(|| format!("there is no element at {at}"))?;
    let size_at = at + id_length;
    let size_length = file.get(size_at).map(|byte| byte.leading_zeros() as usize + 1).ok_or_else(cut)?;
    let content = size_at + size_length;
    if size_length > 8 || content > end {
        return Err(cut());
    }
    let size = number(&file[size_at..content]) & ((1 << (7 * size_length)) - 1);
    let last = content.checked_add(size as usize).filter(|last| *last <= end);
    let last =
        last.ok_or_else(|| format!("the element at {at} declares {size} bytes, and there are {}", end - content))?;
    Ok((number(&file[at..size_at]), content, last))
}

fn children(file: &[u8], mut at: usize, end: usize) -> Checked<Vec<(u64, usize, usize)>> {
    let mut found = Vec::new();
    while at < end {
        let child = element(file, at, end)?;
        at = child.2;
        found.push(child);
    }
    Ok(found)
}
