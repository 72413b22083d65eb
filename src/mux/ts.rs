//! MPEG-TS (ISO/IEC 13818-1): the segments of HLS that have all tracks of a fragment.
//!
//! ```text
//! PAT PMT   PES of H.264 in Annex B, with an access unit delimiter and, before key frames, parameter sets
//!           PES of AAC, one ADTS frame each
//! ```

use mpeg2ts::es::{StreamId, StreamType};
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::{ClockReference, Timestamp};
use mpeg2ts::ts::payload::{Bytes, Pat, Pes, Pmt};
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, EsInfo, Pid, ProgramAssociation, TransportScramblingControl, TsHeader,
    TsPacket, TsPacketWriter, TsPayload, VersionNumber, WriteTsPacket,
};

use super::mp4::segment::{Segment, TsSample};
use crate::error::{Error, ErrorKind, Result};

/// A track of a segment, and its place on the player's timeline.
pub(crate) struct TsTrack {
    pub(crate) segment: Segment,
    /// The start of the fragment's media, in ticks of the track.
    pub(crate) start: i64,
    /// How much earlier samples are decoded than presented, in ticks of the track.
    pub(crate) delay: i64,
}

const PMT_PID: u16 = 0x1000;
const FIRST_PID: u16 = 0x100;

/// How much earlier a sample is sent than decoded, at 90,000 a second.
const LEAD: i64 = 9_000;

/// Bytes of a packet after its header.
const ROOM: usize = TsPacket::SIZE - 4;

struct TsStream {
    pid: Pid,
    id: StreamId,
    has_length: bool,
    counter: ContinuityCounter,
    is_new: bool,
}

/// Returns the segment with these tracks. The first one carries the clock.
///
/// # Errors
/// If a track is neither H.264 nor AAC, or a packet cannot be read.
pub(crate) fn segment(tracks: Vec<TsTrack>) -> Result<Vec<u8>> {
    let (mut streams, mut samples, mut es_info) = (Vec::new(), Vec::new(), Vec::new());
    for (index, track) in tracks.into_iter().enumerate() {
        let pid = Pid::new(FIRST_PID + u16::try_from(index).unwrap_or(0)).map_err(failed)?;
        let is_audio = track.segment.is_audio();
        let (stream_type, id) = match is_audio {
            true => (StreamType::AdtsAac, StreamId::new_audio(StreamId::AUDIO_MIN)),
            false => (StreamType::H264, StreamId::new_video(StreamId::VIDEO_MIN)),
        };
        es_info.push(EsInfo { stream_type, elementary_pid: pid, descriptors: Vec::new() });
        let (id, counter) = (id.map_err(failed)?, ContinuityCounter::new());
        streams.push(TsStream { pid, id, has_length: is_audio, counter, is_new: true });
        let of_track = track.segment.into_ts(track.start, track.delay)?;
        samples.extend(of_track.into_iter().map(|sample| (index, sample)));
    }
    samples.sort_by_key(|(_, sample)| sample.dts);
    let mut out = TsPacketWriter::new(Vec::new());
    tables(es_info, &mut out)?;
    for (index, sample) in samples {
        if let Some(stream) = streams.get_mut(index) {
            stream.write(&sample, index == 0, &mut out)?;
        }
    }
    Ok(out.into_stream())
}

fn failed(error: mpeg2ts::Error) -> Error {
    Error::new(ErrorKind::Unsupported, "a packet of MPEG-TS could not be written").caused_by(error)
}

fn packet(pid: Pid, counter: ContinuityCounter, payload: TsPayload) -> TsPacket {
    let header = TsHeader {
        transport_error_indicator: false,
        transport_priority: false,
        pid,
        transport_scrambling_control: TransportScramblingControl::NotScrambled,
        continuity_counter: counter,
    };
    TsPacket { header, adaptation_field: None, payload: Some(payload) }
}

/// Writes PAT and PMT.
fn tables(es_info: Vec<EsInfo>, out: &mut TsPacketWriter<Vec<u8>>) -> Result<()> {
    let (pat, pmt) = (Pid::new(Pid::PAT).map_err(failed)?, Pid::new(PMT_PID).map_err(failed)?);
    let version_number = VersionNumber::new();
    let table = vec![ProgramAssociation { program_num: 1, program_map_pid: pmt }];
    let programs = TsPayload::Pat(Pat { transport_stream_id: 1, version_number, table });
    let pcr_pid = es_info.first().map(|first| first.elementary_pid);
    let streams = TsPayload::Pmt(Pmt { program_num: 1, pcr_pid, version_number, program_info: Vec::new(), es_info });
    for (pid, payload) in [(pat, programs), (pmt, streams)] {
        out.write_ts_packet(&packet(pid, ContinuityCounter::new(), payload)).map_err(failed)?;
    }
    Ok(())
}

impl TsStream {
    /// Writes a sample as one PES packet.
    fn write(&mut self, sample: &TsSample, has_clock: bool, out: &mut TsPacketWriter<Vec<u8>>) -> Result<()> {
        let time = |time: i64| Timestamp::new(wrapped(time)).map_err(failed);
        let header = PesHeader {
            stream_id: self.id,
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: Some(time(sample.pts)?),
            dts: (sample.dts != sample.pts).then(|| time(sample.dts)).transpose()?,
            escr: None,
        };
        let times = if header.dts.is_some() { 10 } else { 5 };
        let pcr = match has_clock {
            true => Some(ClockReference::new(wrapped(sample.dts.saturating_sub(LEAD)) * 300).map_err(failed)?),
            false => None,
        };
        let adaptation = AdaptationField {
            // Segments are written one by one, so their counters begin anew.
            discontinuity_indicator: std::mem::take(&mut self.is_new),
            random_access_indicator: sample.is_key,
            es_priority_indicator: false,
            pcr,
            opcr: None,
            splice_countdown: None,
            transport_private_data: Vec::new(),
            extension: None,
        };
        let taken = if has_clock { 8 } else { 2 } + 9 + times;
        let (data, mut rest) = sample.bytes.split_at(sample.bytes.len().min(ROOM - taken));
        // Video may be longer than the field can say: 0 leaves it open.
        let length = u16::try_from(3 + times + sample.bytes.len()).unwrap_or(0);
        let pes_packet_len = if self.has_length { length } else { 0 };
        let pes = Pes { header, pes_packet_len, data: Bytes::new(data).map_err(failed)? };
        let mut first = packet(self.pid, self.counter, TsPayload::PesStart(pes));
        first.adaptation_field = Some(adaptation);
        out.write_ts_packet(&first).map_err(failed)?;
        self.counter.increment();
        while !rest.is_empty() {
            let (data, after) = rest.split_at(rest.len().min(ROOM));
            rest = after;
            let payload = TsPayload::PesContinuation(Bytes::new(data).map_err(failed)?);
            out.write_ts_packet(&packet(self.pid, self.counter, payload)).map_err(failed)?;
            self.counter.increment();
        }
        Ok(())
    }
}

/// Returns a time in 33 bits.
fn wrapped(time: i64) -> u64 {
    time.cast_unsigned() & Timestamp::MAX
}
