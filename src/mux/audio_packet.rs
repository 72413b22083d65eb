//! [`AudioPacket`]: coded audio, and how to decode it.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::audio::AudioConfig;
use super::codec::located;
use crate::error::Result;
use crate::packet::Packet;

/// A packet of an audio track with the configuration of its codec, from
/// [`audio`](crate::PacketStreamExt::audio).
#[derive(Clone, Debug)]
pub struct AudioPacket {
    packet: Packet,
    config: Result<Arc<AudioConfig>>,
}

impl AudioPacket {
    pub(super) fn new(packet: Packet, config: Result<Arc<AudioConfig>>) -> Self {
        Self { packet, config }
    }

    /// Returns the packet, which has the times and the coded bytes.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Returns the packet without its configuration.
    pub fn into_packet(self) -> Packet {
        self.packet
    }

    /// Returns the configuration of the codec. Packets of the same track share it.
    ///
    /// # Errors
    /// The errors of [`AudioConfig::of_track`]. Their text names the fragment, the track, and an unknown codec.
    pub fn config(&self) -> Result<&Arc<AudioConfig>> {
        self.config.as_ref().map_err(|error| located(error.clone(), &self.packet))
    }

    /// Returns an AAC frame with an ADTS header of 7 bytes before it.
    ///
    /// The frames of a track, one after the other, are a file that players open. A frame that the producer has sent with
    /// such a header is returned as it is.
    ///
    /// # Errors
    /// - Those of [`config`](AudioPacket::config).
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the codec is not AAC, or ADTS has no place for its object type,
    ///   sampling frequency or channels.
    /// - [`Malformed`](crate::ErrorKind::Malformed) if the frame is longer than 8,184 bytes.
    ///
    /// # Memory
    /// The frame is copied.
    pub fn to_adts(&self) -> Result<Bytes> {
        self.config()?.to_adts(self.packet.payload()).map_err(|error| located(error, &self.packet))
    }

    /// Returns PCM or G.711 as signed 16-bit little-endian samples, interleaved by channel.
    ///
    /// Samples wider than 16 bits keep their 16 most significant bits. An incomplete sample at the end is dropped.
    ///
    /// # Errors
    /// - Those of [`config`](AudioPacket::config).
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) for AAC and Opus, which need a decoder.
    ///
    /// # Memory
    /// The samples are copied, unless they have this format already.
    pub fn to_pcm16(&self) -> Result<Bytes> {
        self.config()?.to_pcm16(self.packet.payload()).map_err(|error| located(error, &self.packet))
    }
}
