//! The AudioSpecificConfig of AAC (ISO/IEC 14496-3 section 1.6.2.1).

/// The fields of an AudioSpecificConfig that containers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AudioSpecificConfig {
    pub(crate) object_type: u8,
    /// The sampling frequency of the core coder.
    pub(crate) frequency: u32,
    /// That after spectral band replication, if it is declared.
    pub(crate) extended_frequency: Option<u32>,
    pub(crate) channels: u16,
    /// True if a frame has 960 samples and not 1,024.
    pub(crate) is_short: bool,
}

const FREQUENCIES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Object types with spectral band replication, and with parametric stereo.
const SBR: u8 = 5;
const PS: u8 = 29;

impl AudioSpecificConfig {
    /// Reads a config. `None` if it is cut or has undefined values.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes, at: 0 };
        let mut object_type = bits.object_type()?;
        let frequency = bits.frequency()?;
        let channels = match bits.take(4)? {
            // The channels are in the rest of the config, which only a decoder reads.
            0 => 2,
            7 => 8,
            count @ 1..=6 => count as u16,
            11 => 7,
            12 | 14 => 8,
            13 => 24,
            _ => return None,
        };
        let mut extended_frequency = None;
        let mut channels = channels;
        if matches!(object_type, SBR | PS) {
            if object_type == PS {
                channels = channels.max(2);
            }
            extended_frequency = Some(bits.frequency()?);
            object_type = bits.object_type()?;
        }
        if object_type == 0 || frequency == 0 || extended_frequency == Some(0) {
            return None;
        }
        let is_general = matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23);
        let is_short = is_general && bits.take(1) == Some(1);
        Some(Self { object_type, frequency, extended_frequency, channels, is_short })
    }

    /// Returns the sample rate of decoded audio.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.extended_frequency.unwrap_or(self.frequency)
    }

    /// Returns the samples of each channel in a frame, at the sample rate of decoded audio.
    pub(crate) fn frame_samples(&self) -> u32 {
        let core: u64 = if self.is_short { 960 } else { 1024 };
        let samples = core * u64::from(self.sample_rate()) / u64::from(self.frequency.max(1));
        u32::try_from(samples).unwrap_or(1024).max(1)
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
}
