//! The AudioSpecificConfig of AAC (ISO/IEC 14496-3 section 1.6.2.1).

/// The fields of an AudioSpecificConfig that containers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AudioSpecificConfig {
    /// The object type of the core coder.
    pub(crate) object_type: u8,
    /// The sampling frequency of the core coder.
    pub(crate) frequency: u32,
    /// The sampling frequency after spectral band replication, if it is declared.
    pub(crate) extended_frequency: Option<u32>,
    /// The object type of the extension, if one is declared: [`SBR`] or [`PS`].
    pub(crate) extension: Option<u8>,
    /// How the channels are declared: a number of the standard, or 0 if a list follows.
    pub(crate) channel_configuration: u8,
    /// The channels of decoded audio.
    pub(crate) channels: u16,
    /// True if a frame has 960 samples and not 1,024, or 480 and not 512.
    pub(crate) is_short: bool,
    /// True if a frame depends on data outside of it.
    pub(crate) is_scalable: bool,
}

const FREQUENCIES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Object types with spectral band replication, and with parametric stereo.
pub(crate) const SBR: u8 = 5;
pub(crate) const PS: u8 = 29;

/// Object types of low delay: AAC-LD and AAC-ELD.
const LD: u8 = 23;
const ELD: u8 = 39;

/// Words that declare an extension after the config of the core coder, so that old decoders do not see it.
const SYNC_SBR: u32 = 0x2B7;
const SYNC_PS: u32 = 0x548;

impl AudioSpecificConfig {
    /// Reads a config. `None` if it is cut or has undefined values.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes, at: 0 };
        let object_type = bits.object_type()?;
        let frequency = bits.frequency()?;
        let channel_configuration = bits.take(4)? as u8;
        let mut config = Self {
            object_type,
            frequency,
            extended_frequency: None,
            extension: None,
            channel_configuration,
            channels: match channel_configuration {
                // A list of the channels follows, for object types that have one.
                0 => 2,
                count @ 1..=6 => count.into(),
                7 | 12 | 14 => 8,
                11 => 7,
                13 => 24,
                _ => return None,
            },
            is_short: false,
            is_scalable: false,
        };
        if matches!(object_type, SBR | PS) {
            config.extension = Some(object_type);
            config.extended_frequency = Some(bits.frequency()?);
            config.object_type = bits.object_type()?;
        }
        if config.object_type == 0 || frequency == 0 || config.extended_frequency == Some(0) {
            return None;
        }
        // The rest is read as far as it is there. Without it, the values so far describe the audio.
        if config.read_core(&mut bits).is_some() && config.extension.is_none() {
            config.read_extension(&mut bits);
        }
        if config.extension == Some(PS) {
            config.channels = config.channels.max(2);
        }
        Some(config)
    }

    /// Reads the config of the core coder (ISO/IEC 14496-3 section 4.4.1). `None` if it is cut, or of another coder.
    fn read_core(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if self.object_type == ELD {
            self.is_short = bits.take(1)? == 1;
            return None;
        }
        if !matches!(self.object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            return None;
        }
        self.is_short = bits.take(1)? == 1;
        self.is_scalable = bits.take(1)? == 1;
        if self.is_scalable {
            bits.take(14)?;
        }
        let has_extension = bits.take(1)? == 1;
        if self.channel_configuration == 0 {
            self.channels = bits.program_channels()?;
        }
        if matches!(self.object_type, 6 | 20) {
            self.is_scalable = true;
            bits.take(3)?;
        }
        if has_extension {
            match self.object_type {
                22 => bits.take(16)?,
                17 | 19 | 20 | LD => bits.take(3)?,
                _ => 0,
            };
            bits.take(1)?;
        }
        if self.object_type >= 17 {
            // Error protection: anything but 0 has more fields.
            return (bits.take(2)? == 0).then_some(());
        }
        Some(())
    }

    /// Reads an extension that is declared after the core coder.
    fn read_extension(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if bits.take(11)? != SYNC_SBR || bits.object_type()? != SBR || bits.take(1)? == 0 {
            return None;
        }
        let frequency = bits.frequency().filter(|frequency| *frequency > 0)?;
        (self.extension, self.extended_frequency) = (Some(SBR), Some(frequency));
        if bits.take(11)? == SYNC_PS && bits.take(1)? == 1 {
            self.extension = Some(PS);
        }
        Some(())
    }

    /// Returns the sample rate of decoded audio.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.extended_frequency.unwrap_or(self.frequency)
    }

    /// Returns the samples of each channel in a frame, at the sample rate of decoded audio.
    pub(crate) fn frame_samples(&self) -> u32 {
        let core: u64 = match (self.object_type, self.is_short) {
            (LD | ELD, false) => 512,
            (LD | ELD, true) => 480,
            (_, false) => 1024,
            (_, true) => 960,
        };
        let samples = core * u64::from(self.sample_rate()) / u64::from(self.frequency.max(1));
        u32::try_from(samples).unwrap_or(1024).max(1)
    }

    /// Returns the number that the standard has for the sampling frequency of the core coder. `None` if it has none.
    pub(crate) fn frequency_index(&self) -> Option<u8> {
        FREQUENCIES.iter().position(|frequency| *frequency == self.frequency).and_then(|index| u8::try_from(index).ok())
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u8> {
        let object = match self.take(5)? {
            31 => 32 + self.take(6)?,
            object => object,
        };
        u8::try_from(object).ok()
    }

    fn frequency(&mut self) -> Option<u32> {
        match self.take(4)? {
            15 => self.take(24),
            index => FREQUENCIES.get(index as usize).copied(),
        }
    }
    /// Reads a program_config_element, and returns its number of channels. It lists them one by one.
    fn program_channels(&mut self) -> Option<u16> {
        self.take(10)?;
        let [front, side, back] = [self.take(4)?, self.take(4)?, self.take(4)?];
        let [low, data, coupling] = [self.take(2)?, self.take(3)?, self.take(4)?];
        for width in [4, 4, 3] {
            if self.take(1)? == 1 {
                self.take(width)?;
            }
        }
        let mut channels = low;
        for _ in 0..front + side + back {
            channels += 1 + self.take(1)?;
            self.take(4)?;
        }
        for _ in 0..low + data {
            self.take(4)?;
        }
        for _ in 0..coupling {
            self.take(5)?;
        }
        self.at = self.at.next_multiple_of(8);
        let comment = self.take(8)?;
        for _ in 0..comment {
            self.take(8)?;
        }
        u16::try_from(channels).ok().filter(|channels| *channels > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes fields of some bits each.
    fn packed(fields: &[(u32, usize)]) -> Vec<u8> {
        let bits: Vec<u32> =
            fields.iter().flat_map(|&(value, width)| (0..width).rev().map(move |at| value >> at & 1)).collect();
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | (*bit as u8) << (7 - at)))
            .collect()
    }

    /// The fields of an object type, and of a frequency: by number, or written out.
    fn object(number: u32) -> Vec<(u32, usize)> {
        if number < 31 { vec![(number, 5)] } else { vec![(31, 5), (number - 32, 6)] }
    }

    fn frequency(hertz: u32, is_explicit: bool) -> Vec<(u32, usize)> {
        match FREQUENCIES.iter().position(|known| *known == hertz) {
            Some(index) if !is_explicit => vec![(index as u32, 4)],
            _ => vec![(15, 4), (hertz, 24)],
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Extended {
        No,
        /// Before the core coder, or after it.
        First(u32, bool),
        Last(u32, bool),
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            object_type in prop_oneof![1u32..=4, Just(7), Just(17), Just(19), Just(23), Just(35)],
            hertz in prop_oneof![proptest::sample::select(&FREQUENCIES[..]), 1u32..1 << 24],
            is_explicit: bool,
            configuration in 1u32..=7,
            is_short: bool,
            delay in proptest::option::of(0u32..1 << 14),
            extended in prop_oneof![
                Just(Extended::No),
                (1u32..1 << 24, any::<bool>()).prop_map(|(hertz, ps)| Extended::First(hertz, ps)),
                (1u32..1 << 24, any::<bool>()).prop_map(|(hertz, ps)| Extended::Last(hertz, ps)),
            ],
        ) {
            let is_general = object_type != 35;
            let mut fields = Vec::new();
            match extended {
                Extended::First(hertz_after, ps) => {
                    fields.extend(object(if ps { 29 } else { 5 }));
                    fields.extend(frequency(hertz, is_explicit));
                    fields.push((configuration, 4));
                    fields.extend(frequency(hertz_after, true));
                    fields.extend(object(object_type));
                }
                _ => {
                    fields.extend(object(object_type));
                    fields.extend(frequency(hertz, is_explicit));
                    fields.push((configuration, 4));
                }
            }
            if is_general {
                fields.push((is_short.into(), 1));
                fields.push((delay.is_some().into(), 1));
                fields.extend(delay.map(|delay| (delay, 14)));
                fields.push((0, 1));
                if object_type >= 17 {
                    fields.push((0, 2));
                }
                if let Extended::Last(hertz_after, ps) = extended {
                    fields.extend([(SYNC_SBR, 11), (5, 5), (1, 1), (15, 4), (hertz_after, 24), (SYNC_PS, 11), (ps.into(), 1)]);
                }
            }
            let expected = match extended {
                Extended::First(hertz, ps) => Some((hertz, ps)),
                Extended::Last(hertz, ps) if is_general => Some((hertz, ps)),
                _ => None,
            };
            let bytes = packed(&fields);
            let config = AudioSpecificConfig::read(&bytes).expect("it is whole");
            prop_assert_eq!(u32::from(config.object_type), object_type);
            prop_assert_eq!(config.frequency, hertz);
            prop_assert_eq!(config.extended_frequency, expected.map(|(hertz, _)| hertz));
            prop_assert_eq!(config.extension, expected.map(|(_, ps)| if ps { PS } else { SBR }));
            let channels = if configuration == 7 { 8 } else { configuration };
            let doubled = if expected.is_some_and(|(_, ps)| ps) { channels.max(2) } else { channels };
            prop_assert_eq!(u32::from(config.channels), doubled);
            if is_general {
                prop_assert_eq!((config.is_short, config.is_scalable), (is_short, delay.is_some()));
            }
            // Every shorter one is read the same up to a point, or refused. It never panics.
            for length in 0..bytes.len() {
                let _ = AudioSpecificConfig::read(&bytes[..length]);
            }
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(config) = AudioSpecificConfig::read(&bytes) {
                prop_assert!(config.sample_rate() > 0 && config.channels > 0 && config.frame_samples() > 0);
            }
        }

        /// A list of channels, with everything that may stand in it.
        #[test]
        fn listed_channels_are_counted(
            pairs in proptest::collection::vec(any::<bool>(), 1..15),
            low in 0u32..4,
            data in 0u32..8,
            mixdowns: [bool; 3],
            comment in 0u32..20,
        ) {
            let side = pairs.len() as u32 / 2;
            let mut fields = vec![(2, 5), (3, 4), (0, 4), (0, 1), (0, 1), (0, 1)];
            fields.extend([(0, 4), (1, 2), (3, 4), (pairs.len() as u32 - side, 4), (side, 4), (0, 4), (low, 2), (data, 3), (1, 4)]);
            for (has, width) in mixdowns.into_iter().zip([4, 4, 3]) {
                fields.push((has.into(), 1));
                fields.extend(has.then_some((0, width)));
            }
            fields.extend(pairs.iter().flat_map(|pair| [((*pair).into(), 1), (0, 4)]));
            fields.extend((0..low + data).map(|_| (0, 4)));
            fields.push((0, 5));
            let used: usize = fields.iter().map(|(_, width)| width).sum();
            fields.push((0, used.next_multiple_of(8) - used));
            fields.push((comment, 8));
            fields.extend((0..comment).map(|_| (0x61, 8)));
            fields.extend([(SYNC_SBR, 11), (5, 5), (1, 1), (0, 4)]);
            let config = AudioSpecificConfig::read(&packed(&fields)).unwrap();
            let channels = pairs.iter().map(|pair| 1 + u32::from(*pair)).sum::<u32>() + low;
            prop_assert_eq!(u32::from(config.channels), channels);
            prop_assert_eq!(config.sample_rate(), 96_000, "the extension after the list is found");
        }
    }

    #[test]
    fn configs_of_real_encoders() {
        // In order: FFmpeg's AAC-LC, with a word that says there is no SBR; fdk-aac's HE-AAC, declared first and last;
        // HE-AAC v2; AAC-ELD.
        for (bytes, object_type, extension, rate, channels, frame) in [
            (&[0x11, 0x90, 0x56, 0xE5, 0x00][..], 2, None, 48_000, 2, 1024),
            (&[0x2B, 0x11, 0x88, 0x00], 2, Some(SBR), 48_000, 2, 2048),
            (&[0x13, 0x10, 0x56, 0xE5, 0x98], 2, Some(SBR), 48_000, 2, 2048),
            (&[0xEB, 0x09, 0x88, 0x00], 2, Some(PS), 48_000, 2, 2048),
            (&[0xF8, 0xE6, 0x20, 0x00], 39, None, 48_000, 1, 512),
        ] {
            let config = AudioSpecificConfig::read(bytes).unwrap();
            let found = (config.object_type, config.extension, config.sample_rate(), config.channels);
            assert_eq!(found, (object_type, extension, rate, channels), "{bytes:x?}");
            assert_eq!(config.frame_samples(), frame, "{bytes:x?}");
        }
    }

    #[test]
    fn undefined_and_cut_configs_are_refused() {
        for (bytes, expected) in [
            // In order: 48 kHz stereo; 8 kHz as in Amazon Connect; escaped object type; explicit frequencies.
            (&[0x11, 0x90][..], true),
            (&[0x15, 0x88], true),
            (&[0xF8, 0x46, 0x40], true),
            (&[0x17, 0x80, 0x1F, 0x40, 0x10], true),
            (&[0x17, 0x80, 0x00, 0x00, 0x10], false),
            // In order: no object type; a reserved frequency; truncated ones.
            (&[0x01, 0x90], false),
            (&[0x16, 0x90], false),
            (&[0x11], false),
            (&[0x17, 0x80, 0x1F], false),
            (&[], false),
        ] {
            assert_eq!(AudioSpecificConfig::read(bytes).is_some(), expected, "{bytes:x?}");
        }
    }
}
