//! [`AudioPackets`], the stream that `.audio()` returns.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::audio_packet::AudioPacket;
use super::codec::audio::{AudioConfig, is_audio};
use super::codec::located;
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};
use crate::fragment::Track;
use crate::packet::Packet;

pin_project! {
    /// A stream of the packets of audio tracks, from [`audio`](crate::PacketStreamExt::audio).
    ///
    /// Default: the packets of all audio tracks, in stored order. Packets of other tracks are dropped, and so are packets
    /// whose track is not declared. The tracks of Amazon Connect are audio, and are described as the PCM that they are.
    ///
    /// # Errors
    /// - Errors of the packet stream.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the selected [`track`](AudioPackets::track) is not audio.
    ///
    /// The stream ends after an error. An unknown codec is no error of the stream: its packets are yielded, and
    /// [`AudioPacket::config`] and the conversions return the error.
    ///
    /// # Memory
    /// The configurations of one fragment's tracks.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct AudioPackets<S> {
        #[pin]
        packets: S,
        track: Option<u64>,
        configs: Configs,
        ended: bool,
    }
}

impl<S> AudioPackets<S> {
    pub(crate) fn new(packets: S) -> Self {
        Self { packets, track: None, configs: Configs::default(), ended: false }
    }

    /// Yields only the packets of the track with this number. Default: those of all audio tracks.
    ///
    /// If no fragment has such a track, the stream yields nothing.
    pub fn track(mut self, number: u64) -> Self {
        self.track = Some(number);
        self
    }

    inner_accessors!(packets: S, "packet stream");
}

impl<S: Stream<Item = Result<Packet>>> Stream for AudioPackets<S> {
    type Item = Result<AudioPacket>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while !*this.ended {
            let item = match ready!(this.packets.as_mut().poll_next(cx)) {
                Some(Ok(packet)) if this.track.is_some_and(|track| track != packet.track_number()) => continue,
                Some(Ok(packet)) => match this.configs.of(&packet) {
                    Some(config) => Some(Ok(AudioPacket::new(packet, config))),
                    None if this.track.is_some() => Some(Err(not_audio(&packet))),
                    None => continue,
                },
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            *this.ended = !matches!(item, Some(Ok(_)));
            return Poll::Ready(item);
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error may be yielded in place of a packet, and never in addition.
        (0, if self.ended { Some(0) } else { self.packets.size_hint().1 })
    }
}

impl<S: Stream<Item = Result<Packet>>> FusedStream for AudioPackets<S> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

fn not_audio(packet: &Packet) -> Error {
    let tracks = packet.fragment().tracks();
    let what = packet.track().map_or("not declared", |track| track.kind().name());
    let audio = tracks.iter().filter(|track| is_audio(track, tracks)).map(|track| track.number().to_string());
    let audio = match audio.collect::<Vec<_>>() {
        numbers if numbers.is_empty() => "none".into(),
        numbers => numbers.join(", "),
    };
    let message = format!("the selected track is not audio but {what}; the audio tracks of the fragment: {audio}");
    located(Error::invalid_argument(message), packet)
}

/// The configurations of a fragment's audio tracks, each read when its first packet comes.
#[derive(Debug, Default)]
struct Configs {
    tracks: Arc<[Track]>,
    /// The number of a track, and its configuration. `None` if it is not audio.
    read: Vec<(u64, Option<Result<Arc<AudioConfig>>>)>,
}

impl Configs {
    /// Returns the configuration of a packet's track. `None` if it is not audio.
    fn of(&mut self, packet: &Packet) -> Option<Result<Arc<AudioConfig>>> {
        let tracks = packet.fragment().tracks();
        // Consecutive fragments with the same declarations share them.
        if !Arc::ptr_eq(&self.tracks, tracks) {
            if self.tracks != *tracks {
                self.read.clear();
            }
            self.tracks = Arc::clone(tracks);
        }
        let number = packet.track_number();
        if let Some((_, config)) = self.read.iter().find(|(read, _)| *read == number) {
            return config.clone();
        }
        let track = packet.track()?;
        let config = is_audio(track, tracks).then(|| AudioConfig::of_track(track, tracks).map(Arc::new));
        self.read.push((number, config.clone()));
        config
    }
}
