//! The table of elements: RFC 8794 section 11 and RFC 9559 section 5.
//!
//! It includes deprecated elements, because producers still write them.

use std::fmt;

use super::element_id::ElementId;

/// The type of an element's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opaque bytes.
    Binary,
    /// Nanoseconds since 2001-01-01 UTC, signed.
    Date,
    /// A big-endian IEEE 754 number of 0, 4 or 8 octets.
    Float,
    /// A signed big-endian integer of 0 to 8 octets.
    Int,
    /// Other elements.
    Master,
    /// ASCII or UTF-8, possibly padded with NUL.
    Text,
    /// An unsigned big-endian integer of 0 to 8 octets.
    Uint,
}

/// The place where an element may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Anywhere: Void and CRC-32.
    Anywhere,
    /// Directly inside elements of this id.
    In(ElementId),
    /// At the top: the EBML header and the Segment.
    Root,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ElementSchema {
    /// The element's id.
    pub(crate) id: ElementId,
    /// The element's name in its RFC.
    pub(crate) name: &'static str,
    /// The place where the element may appear. For elements that nest in themselves (`SimpleTag`,
    /// `ChapterAtom`) it is the outermost parent.
    pub(crate) parent: Parent,
    /// The type of the element's payload.
    pub(crate) kind: Kind,
}

impl ElementSchema {
    /// Returns whether the element may have an unknown size. Only Segment and Cluster may.
    pub(crate) fn may_be_unknown_size(&self) -> bool {
        matches!(self.id, id::SEGMENT | id::CLUSTER)
    }
}

/// Returns whether an element of unknown size ends where `next` begins (RFC 8794 section 6.2).
///
/// Siblings of the open element and root elements end it.
pub(crate) fn ends_unknown_size(open: ElementId, next: ElementId) -> bool {
    let parent = |id| lookup(id).map(|row| row.parent);
    match parent(next) {
        Some(Parent::Root) => true,
        Some(Parent::In(_)) => parent(next) == parent(open),
        Some(Parent::Anywhere) | None => false,
    }
}

impl ElementId {
    /// Returns the element's name in RFC 8794 or RFC 9559, or `None` if the id is in neither.
    pub fn name(self) -> Option<&'static str> {
        lookup(self).map(|element| element.name)
    }
}

/// Prints the name, or the id in hexadecimal if the name is unknown.
impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "0x{:X}", self.0),
        }
    }
}

impl fmt::Debug for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! elements {
    ($($constant:ident = $id:literal, $name:literal, $parent:ident $(($of:ident))?, $kind:ident;)*) => {
        /// The ids of all elements of RFC 8794 and RFC 9559.
        pub mod id {
            use super::ElementId;
            $(#[doc = concat!("The id of `", $name, "`.")] pub const $constant: ElementId = ElementId($id);)*
        }

        /// Returns the row of an element, or `None` for ids that are in neither RFC.
        pub(crate) fn lookup(id: ElementId) -> Option<&'static ElementSchema> {
            match id.0 {
                $($id => {
                    const ROW: ElementSchema = ElementSchema {
                        id: ElementId($id),
                        name: $name,
                        parent: Parent::$parent $((id::$of))?,
                        kind: Kind::$kind,
                    };
                    Some(&ROW)
                })*
                _ => None,
            }
        }

        /// Returns all rows, parents before their children.
        #[cfg(test)]
        fn all() -> impl Iterator<Item = &'static ElementSchema> {
            [$($id),*].into_iter().filter_map(|id| lookup(ElementId(id)))
        }
    };
}

elements! {
    EBML = 0x1A45_DFA3, "EBML", Root, Master;
    EBML_VERSION = 0x4286, "EBMLVersion", In(EBML), Uint;
    EBML_READ_VERSION = 0x42F7, "EBMLReadVersion", In(EBML), Uint;
    EBML_MAX_ID_LENGTH = 0x42F2, "EBMLMaxIDLength", In(EBML), Uint;
    EBML_MAX_SIZE_LENGTH = 0x42F3, "EBMLMaxSizeLength", In(EBML), Uint;
    DOC_TYPE = 0x4282, "DocType", In(EBML), Text;
    DOC_TYPE_VERSION = 0x4287, "DocTypeVersion", In(EBML), Uint;
    DOC_TYPE_READ_VERSION = 0x4285, "DocTypeReadVersion", In(EBML), Uint;
    DOC_TYPE_EXTENSION = 0x4281, "DocTypeExtension", In(EBML), Master;
    DOC_TYPE_EXTENSION_NAME = 0x4283, "DocTypeExtensionName", In(DOC_TYPE_EXTENSION), Text;
    DOC_TYPE_EXTENSION_VERSION = 0x4284, "DocTypeExtensionVersion", In(DOC_TYPE_EXTENSION), Uint;
    VOID = 0xEC, "Void", Anywhere, Binary;
    CRC_32 = 0xBF, "CRC-32", Anywhere, Binary;
    SEGMENT = 0x1853_8067, "Segment", Root, Master;
    SEEK_HEAD = 0x114D_9B74, "SeekHead", In(SEGMENT), Master;
    SEEK = 0x4DBB, "Seek", In(SEEK_HEAD), Master;
    SEEK_ID = 0x53AB, "SeekID", In(SEEK), Binary;
    SEEK_POSITION = 0x53AC, "SeekPosition", In(SEEK), Uint;
    INFO = 0x1549_A966, "Info", In(SEGMENT), Master;
    SEGMENT_UUID = 0x73A4, "SegmentUUID", In(INFO), Binary;
    SEGMENT_FILENAME = 0x7384, "SegmentFilename", In(INFO), Text;
    PREV_UUID = 0x3C_B923, "PrevUUID", In(INFO), Binary;
    PREV_FILENAME = 0x3C_83AB, "PrevFilename", In(INFO), Text;
    NEXT_UUID = 0x3E_B923, "NextUUID", In(INFO), Binary;
    NEXT_FILENAME = 0x3E_83BB, "NextFilename", In(INFO), Text;
    SEGMENT_FAMILY = 0x4444, "SegmentFamily", In(INFO), Binary;
    CHAPTER_TRANSLATE = 0x6924, "ChapterTranslate", In(INFO), Master;
    CHAPTER_TRANSLATE_ID = 0x69A5, "ChapterTranslateID", In(CHAPTER_TRANSLATE), Binary;
    CHAPTER_TRANSLATE_CODEC = 0x69BF, "ChapterTranslateCodec", In(CHAPTER_TRANSLATE), Uint;
    CHAPTER_TRANSLATE_EDITION_UID = 0x69FC, "ChapterTranslateEditionUID", In(CHAPTER_TRANSLATE), Uint;
    TIMESTAMP_SCALE = 0x2A_D7B1, "TimestampScale", In(INFO), Uint;
    DURATION = 0x4489, "Duration", In(INFO), Float;
    DATE_UTC = 0x4461, "DateUTC", In(INFO), Date;
    TITLE = 0x7BA9, "Title", In(INFO), Text;
    MUXING_APP = 0x4D80, "MuxingApp", In(INFO), Text;
    WRITING_APP = 0x5741, "WritingApp", In(INFO), Text;
    CLUSTER = 0x1F43_B675, "Cluster", In(SEGMENT), Master;
    TIMESTAMP = 0xE7, "Timestamp", In(CLUSTER), Uint;
    SILENT_TRACKS = 0x5854, "SilentTracks", In(CLUSTER), Master;
    SILENT_TRACK_NUMBER = 0x58D7, "SilentTrackNumber", In(SILENT_TRACKS), Uint;
    POSITION = 0xA7, "Position", In(CLUSTER), Uint;
    PREV_SIZE = 0xAB, "PrevSize", In(CLUSTER), Uint;
    SIMPLE_BLOCK = 0xA3, "SimpleBlock", In(CLUSTER), Binary;
    BLOCK_GROUP = 0xA0, "BlockGroup", In(CLUSTER), Master;
    ENCRYPTED_BLOCK = 0xAF, "EncryptedBlock", In(CLUSTER), Binary;
    BLOCK = 0xA1, "Block", In(BLOCK_GROUP), Binary;
    BLOCK_VIRTUAL = 0xA2, "BlockVirtual", In(BLOCK_GROUP), Binary;
    BLOCK_ADDITIONS = 0x75A1, "BlockAdditions", In(BLOCK_GROUP), Master;
    BLOCK_MORE = 0xA6, "BlockMore", In(BLOCK_ADDITIONS), Master;
    BLOCK_ADDITIONAL = 0xA5, "BlockAdditional", In(BLOCK_MORE), Binary;
    BLOCK_ADD_ID = 0xEE, "BlockAddID", In(BLOCK_MORE), Uint;
    BLOCK_DURATION = 0x9B, "BlockDuration", In(BLOCK_GROUP), Uint;
    REFERENCE_PRIORITY = 0xFA, "ReferencePriority", In(BLOCK_GROUP), Uint;
    REFERENCE_BLOCK = 0xFB, "ReferenceBlock", In(BLOCK_GROUP), Int;
    REFERENCE_VIRTUAL = 0xFD, "ReferenceVirtual", In(BLOCK_GROUP), Int;
    CODEC_STATE = 0xA4, "CodecState", In(BLOCK_GROUP), Binary;
    DISCARD_PADDING = 0x75A2, "DiscardPadding", In(BLOCK_GROUP), Int;
    SLICES = 0x8E, "Slices", In(BLOCK_GROUP), Master;
    TIME_SLICE = 0xE8, "TimeSlice", In(SLICES), Master;
    LACE_NUMBER = 0xCC, "LaceNumber", In(TIME_SLICE), Uint;
    FRAME_NUMBER = 0xCD, "FrameNumber", In(TIME_SLICE), Uint;
    BLOCK_ADDITION_ID = 0xCB, "BlockAdditionID", In(TIME_SLICE), Uint;
    DELAY = 0xCE, "Delay", In(TIME_SLICE), Uint;
    SLICE_DURATION = 0xCF, "SliceDuration", In(TIME_SLICE), Uint;
    REFERENCE_FRAME = 0xC8, "ReferenceFrame", In(BLOCK_GROUP), Master;
    REFERENCE_OFFSET = 0xC9, "ReferenceOffset", In(REFERENCE_FRAME), Uint;
    REFERENCE_TIMESTAMP = 0xCA, "ReferenceTimestamp", In(REFERENCE_FRAME), Uint;
    TRACKS = 0x1654_AE6B, "Tracks", In(SEGMENT), Master;
    TRACK_ENTRY = 0xAE, "TrackEntry", In(TRACKS), Master;
    TRACK_NUMBER = 0xD7, "TrackNumber", In(TRACK_ENTRY), Uint;
    TRACK_UID = 0x73C5, "TrackUID", In(TRACK_ENTRY), Uint;
    TRACK_TYPE = 0x83, "TrackType", In(TRACK_ENTRY), Uint;
    FLAG_ENABLED = 0xB9, "FlagEnabled", In(TRACK_ENTRY), Uint;
    FLAG_DEFAULT = 0x88, "FlagDefault", In(TRACK_ENTRY), Uint;
    FLAG_FORCED = 0x55AA, "FlagForced", In(TRACK_ENTRY), Uint;
    FLAG_HEARING_IMPAIRED = 0x55AB, "FlagHearingImpaired", In(TRACK_ENTRY), Uint;
    FLAG_VISUAL_IMPAIRED = 0x55AC, "FlagVisualImpaired", In(TRACK_ENTRY), Uint;
    FLAG_TEXT_DESCRIPTIONS = 0x55AD, "FlagTextDescriptions", In(TRACK_ENTRY), Uint;
    FLAG_ORIGINAL = 0x55AE, "FlagOriginal", In(TRACK_ENTRY), Uint;
    FLAG_COMMENTARY = 0x55AF, "FlagCommentary", In(TRACK_ENTRY), Uint;
    FLAG_LACING = 0x9C, "FlagLacing", In(TRACK_ENTRY), Uint;
    MIN_CACHE = 0x6DE7, "MinCache", In(TRACK_ENTRY), Uint;
    MAX_CACHE = 0x6DF8, "MaxCache", In(TRACK_ENTRY), Uint;
    DEFAULT_DURATION = 0x23_E383, "DefaultDuration", In(TRACK_ENTRY), Uint;
    DEFAULT_DECODED_FIELD_DURATION = 0x23_4E7A, "DefaultDecodedFieldDuration", In(TRACK_ENTRY), Uint;
    TRACK_TIMESTAMP_SCALE = 0x23_314F, "TrackTimestampScale", In(TRACK_ENTRY), Float;
    TRACK_OFFSET = 0x537F, "TrackOffset", In(TRACK_ENTRY), Int;
    MAX_BLOCK_ADDITION_ID = 0x55EE, "MaxBlockAdditionID", In(TRACK_ENTRY), Uint;
    BLOCK_ADDITION_MAPPING = 0x41E4, "BlockAdditionMapping", In(TRACK_ENTRY), Master;
    BLOCK_ADD_ID_VALUE = 0x41F0, "BlockAddIDValue", In(BLOCK_ADDITION_MAPPING), Uint;
    BLOCK_ADD_ID_NAME = 0x41A4, "BlockAddIDName", In(BLOCK_ADDITION_MAPPING), Text;
    BLOCK_ADD_ID_TYPE = 0x41E7, "BlockAddIDType", In(BLOCK_ADDITION_MAPPING), Uint;
    BLOCK_ADD_ID_EXTRA_DATA = 0x41ED, "BlockAddIDExtraData", In(BLOCK_ADDITION_MAPPING), Binary;
    NAME = 0x536E, "Name", In(TRACK_ENTRY), Text;
    LANGUAGE = 0x22_B59C, "Language", In(TRACK_ENTRY), Text;
    LANGUAGE_BCP47 = 0x22_B59D, "LanguageBCP47", In(TRACK_ENTRY), Text;
    CODEC_ID = 0x86, "CodecID", In(TRACK_ENTRY), Text;
    CODEC_PRIVATE = 0x63A2, "CodecPrivate", In(TRACK_ENTRY), Binary;
    CODEC_NAME = 0x25_8688, "CodecName", In(TRACK_ENTRY), Text;
    ATTACHMENT_LINK = 0x7446, "AttachmentLink", In(TRACK_ENTRY), Uint;
    CODEC_SETTINGS = 0x3A_9697, "CodecSettings", In(TRACK_ENTRY), Text;
    CODEC_INFO_URL = 0x3B_4040, "CodecInfoURL", In(TRACK_ENTRY), Text;
    CODEC_DOWNLOAD_URL = 0x26_B240, "CodecDownloadURL", In(TRACK_ENTRY), Text;
    CODEC_DECODE_ALL = 0xAA, "CodecDecodeAll", In(TRACK_ENTRY), Uint;
    TRACK_OVERLAY = 0x6FAB, "TrackOverlay", In(TRACK_ENTRY), Uint;
    CODEC_DELAY = 0x56AA, "CodecDelay", In(TRACK_ENTRY), Uint;
    SEEK_PRE_ROLL = 0x56BB, "SeekPreRoll", In(TRACK_ENTRY), Uint;
    TRACK_TRANSLATE = 0x6624, "TrackTranslate", In(TRACK_ENTRY), Master;
    TRACK_TRANSLATE_TRACK_ID = 0x66A5, "TrackTranslateTrackID", In(TRACK_TRANSLATE), Binary;
    TRACK_TRANSLATE_CODEC = 0x66BF, "TrackTranslateCodec", In(TRACK_TRANSLATE), Uint;
    TRACK_TRANSLATE_EDITION_UID = 0x66FC, "TrackTranslateEditionUID", In(TRACK_TRANSLATE), Uint;
    VIDEO = 0xE0, "Video", In(TRACK_ENTRY), Master;
    FLAG_INTERLACED = 0x9A, "FlagInterlaced", In(VIDEO), Uint;
    FIELD_ORDER = 0x9D, "FieldOrder", In(VIDEO), Uint;
    STEREO_MODE = 0x53B8, "StereoMode", In(VIDEO), Uint;
    ALPHA_MODE = 0x53C0, "AlphaMode", In(VIDEO), Uint;
    OLD_STEREO_MODE = 0x53B9, "OldStereoMode", In(VIDEO), Uint;
    PIXEL_WIDTH = 0xB0, "PixelWidth", In(VIDEO), Uint;
    PIXEL_HEIGHT = 0xBA, "PixelHeight", In(VIDEO), Uint;
    PIXEL_CROP_BOTTOM = 0x54AA, "PixelCropBottom", In(VIDEO), Uint;
    PIXEL_CROP_TOP = 0x54BB, "PixelCropTop", In(VIDEO), Uint;
    PIXEL_CROP_LEFT = 0x54CC, "PixelCropLeft", In(VIDEO), Uint;
    PIXEL_CROP_RIGHT = 0x54DD, "PixelCropRight", In(VIDEO), Uint;
    DISPLAY_WIDTH = 0x54B0, "DisplayWidth", In(VIDEO), Uint;
    DISPLAY_HEIGHT = 0x54BA, "DisplayHeight", In(VIDEO), Uint;
    DISPLAY_UNIT = 0x54B2, "DisplayUnit", In(VIDEO), Uint;
    ASPECT_RATIO_TYPE = 0x54B3, "AspectRatioType", In(VIDEO), Uint;
    UNCOMPRESSED_FOUR_CC = 0x2E_B524, "UncompressedFourCC", In(VIDEO), Binary;
    GAMMA_VALUE = 0x2F_B523, "GammaValue", In(VIDEO), Float;
    FRAME_RATE = 0x23_83E3, "FrameRate", In(VIDEO), Float;
    COLOUR = 0x55B0, "Colour", In(VIDEO), Master;
    MATRIX_COEFFICIENTS = 0x55B1, "MatrixCoefficients", In(COLOUR), Uint;
    BITS_PER_CHANNEL = 0x55B2, "BitsPerChannel", In(COLOUR), Uint;
    CHROMA_SUBSAMPLING_HORZ = 0x55B3, "ChromaSubsamplingHorz", In(COLOUR), Uint;
    CHROMA_SUBSAMPLING_VERT = 0x55B4, "ChromaSubsamplingVert", In(COLOUR), Uint;
    CB_SUBSAMPLING_HORZ = 0x55B5, "CbSubsamplingHorz", In(COLOUR), Uint;
    CB_SUBSAMPLING_VERT = 0x55B6, "CbSubsamplingVert", In(COLOUR), Uint;
    CHROMA_SITING_HORZ = 0x55B7, "ChromaSitingHorz", In(COLOUR), Uint;
    CHROMA_SITING_VERT = 0x55B8, "ChromaSitingVert", In(COLOUR), Uint;
    RANGE = 0x55B9, "Range", In(COLOUR), Uint;
    TRANSFER_CHARACTERISTICS = 0x55BA, "TransferCharacteristics", In(COLOUR), Uint;
    PRIMARIES = 0x55BB, "Primaries", In(COLOUR), Uint;
    MAX_CLL = 0x55BC, "MaxCLL", In(COLOUR), Uint;
    MAX_FALL = 0x55BD, "MaxFALL", In(COLOUR), Uint;
    MASTERING_METADATA = 0x55D0, "MasteringMetadata", In(COLOUR), Master;
    PRIMARY_R_CHROMATICITY_X = 0x55D1, "PrimaryRChromaticityX", In(MASTERING_METADATA), Float;
    PRIMARY_R_CHROMATICITY_Y = 0x55D2, "PrimaryRChromaticityY", In(MASTERING_METADATA), Float;
    PRIMARY_G_CHROMATICITY_X = 0x55D3, "PrimaryGChromaticityX", In(MASTERING_METADATA), Float;
    PRIMARY_G_CHROMATICITY_Y = 0x55D4, "PrimaryGChromaticityY", In(MASTERING_METADATA), Float;
    PRIMARY_B_CHROMATICITY_X = 0x55D5, "PrimaryBChromaticityX", In(MASTERING_METADATA), Float;
    PRIMARY_B_CHROMATICITY_Y = 0x55D6, "PrimaryBChromaticityY", In(MASTERING_METADATA), Float;
    WHITE_POINT_CHROMATICITY_X = 0x55D7, "WhitePointChromaticityX", In(MASTERING_METADATA), Float;
    WHITE_POINT_CHROMATICITY_Y = 0x55D8, "WhitePointChromaticityY", In(MASTERING_METADATA), Float;
    LUMINANCE_MAX = 0x55D9, "LuminanceMax", In(MASTERING_METADATA), Float;
    LUMINANCE_MIN = 0x55DA, "LuminanceMin", In(MASTERING_METADATA), Float;
    PROJECTION = 0x7670, "Projection", In(VIDEO), Master;
    PROJECTION_TYPE = 0x7671, "ProjectionType", In(PROJECTION), Uint;
    PROJECTION_PRIVATE = 0x7672, "ProjectionPrivate", In(PROJECTION), Binary;
    PROJECTION_POSE_YAW = 0x7673, "ProjectionPoseYaw", In(PROJECTION), Float;
    PROJECTION_POSE_PITCH = 0x7674, "ProjectionPosePitch", In(PROJECTION), Float;
    PROJECTION_POSE_ROLL = 0x7675, "ProjectionPoseRoll", In(PROJECTION), Float;
    AUDIO = 0xE1, "Audio", In(TRACK_ENTRY), Master;
    SAMPLING_FREQUENCY = 0xB5, "SamplingFrequency", In(AUDIO), Float;
    OUTPUT_SAMPLING_FREQUENCY = 0x78B5, "OutputSamplingFrequency", In(AUDIO), Float;
    CHANNELS = 0x9F, "Channels", In(AUDIO), Uint;
    CHANNEL_POSITIONS = 0x7D7B, "ChannelPositions", In(AUDIO), Binary;
    BIT_DEPTH = 0x6264, "BitDepth", In(AUDIO), Uint;
    EMPHASIS = 0x52F1, "Emphasis", In(AUDIO), Uint;
    TRACK_OPERATION = 0xE2, "TrackOperation", In(TRACK_ENTRY), Master;
    TRACK_COMBINE_PLANES = 0xE3, "TrackCombinePlanes", In(TRACK_OPERATION), Master;
    TRACK_PLANE = 0xE4, "TrackPlane", In(TRACK_COMBINE_PLANES), Master;
    TRACK_PLANE_UID = 0xE5, "TrackPlaneUID", In(TRACK_PLANE), Uint;
    TRACK_PLANE_TYPE = 0xE6, "TrackPlaneType", In(TRACK_PLANE), Uint;
    TRACK_JOIN_BLOCKS = 0xE9, "TrackJoinBlocks", In(TRACK_OPERATION), Master;
    TRACK_JOIN_UID = 0xED, "TrackJoinUID", In(TRACK_JOIN_BLOCKS), Uint;
    TRICK_TRACK_UID = 0xC0, "TrickTrackUID", In(TRACK_ENTRY), Uint;
    TRICK_TRACK_SEGMENT_UID = 0xC1, "TrickTrackSegmentUID", In(TRACK_ENTRY), Binary;
    TRICK_TRACK_FLAG = 0xC6, "TrickTrackFlag", In(TRACK_ENTRY), Uint;
    TRICK_MASTER_TRACK_UID = 0xC7, "TrickMasterTrackUID", In(TRACK_ENTRY), Uint;
    TRICK_MASTER_TRACK_SEGMENT_UID = 0xC4, "TrickMasterTrackSegmentUID", In(TRACK_ENTRY), Binary;
    CONTENT_ENCODINGS = 0x6D80, "ContentEncodings", In(TRACK_ENTRY), Master;
    CONTENT_ENCODING = 0x6240, "ContentEncoding", In(CONTENT_ENCODINGS), Master;
    CONTENT_ENCODING_ORDER = 0x5031, "ContentEncodingOrder", In(CONTENT_ENCODING), Uint;
    CONTENT_ENCODING_SCOPE = 0x5032, "ContentEncodingScope", In(CONTENT_ENCODING), Uint;
    CONTENT_ENCODING_TYPE = 0x5033, "ContentEncodingType", In(CONTENT_ENCODING), Uint;
    CONTENT_COMPRESSION = 0x5034, "ContentCompression", In(CONTENT_ENCODING), Master;
    CONTENT_COMP_ALGO = 0x4254, "ContentCompAlgo", In(CONTENT_COMPRESSION), Uint;
    CONTENT_COMP_SETTINGS = 0x4255, "ContentCompSettings", In(CONTENT_COMPRESSION), Binary;
    CONTENT_ENCRYPTION = 0x5035, "ContentEncryption", In(CONTENT_ENCODING), Master;
    CONTENT_ENC_ALGO = 0x47E1, "ContentEncAlgo", In(CONTENT_ENCRYPTION), Uint;
    CONTENT_ENC_KEY_ID = 0x47E2, "ContentEncKeyID", In(CONTENT_ENCRYPTION), Binary;
    CONTENT_ENC_AES_SETTINGS = 0x47E7, "ContentEncAESSettings", In(CONTENT_ENCRYPTION), Master;
    AES_SETTINGS_CIPHER_MODE = 0x47E8, "AESSettingsCipherMode", In(CONTENT_ENC_AES_SETTINGS), Uint;
    CONTENT_SIGNATURE = 0x47E3, "ContentSignature", In(CONTENT_ENCRYPTION), Binary;
    CONTENT_SIG_KEY_ID = 0x47E4, "ContentSigKeyID", In(CONTENT_ENCRYPTION), Binary;
    CONTENT_SIG_ALGO = 0x47E5, "ContentSigAlgo", In(CONTENT_ENCRYPTION), Uint;
    CONTENT_SIG_HASH_ALGO = 0x47E6, "ContentSigHashAlgo", In(CONTENT_ENCRYPTION), Uint;
    CUES = 0x1C53_BB6B, "Cues", In(SEGMENT), Master;
    CUE_POINT = 0xBB, "CuePoint", In(CUES), Master;
    CUE_TIME = 0xB3, "CueTime", In(CUE_POINT), Uint;
    CUE_TRACK_POSITIONS = 0xB7, "CueTrackPositions", In(CUE_POINT), Master;
    CUE_TRACK = 0xF7, "CueTrack", In(CUE_TRACK_POSITIONS), Uint;
    CUE_CLUSTER_POSITION = 0xF1, "CueClusterPosition", In(CUE_TRACK_POSITIONS), Uint;
    CUE_RELATIVE_POSITION = 0xF0, "CueRelativePosition", In(CUE_TRACK_POSITIONS), Uint;
    CUE_DURATION = 0xB2, "CueDuration", In(CUE_TRACK_POSITIONS), Uint;
    CUE_BLOCK_NUMBER = 0x5378, "CueBlockNumber", In(CUE_TRACK_POSITIONS), Uint;
    CUE_CODEC_STATE = 0xEA, "CueCodecState", In(CUE_TRACK_POSITIONS), Uint;
    CUE_REFERENCE = 0xDB, "CueReference", In(CUE_TRACK_POSITIONS), Master;
    CUE_REF_TIME = 0x96, "CueRefTime", In(CUE_REFERENCE), Uint;
    CUE_REF_CLUSTER = 0x97, "CueRefCluster", In(CUE_REFERENCE), Uint;
    CUE_REF_NUMBER = 0x535F, "CueRefNumber", In(CUE_REFERENCE), Uint;
    CUE_REF_CODEC_STATE = 0xEB, "CueRefCodecState", In(CUE_REFERENCE), Uint;
    ATTACHMENTS = 0x1941_A469, "Attachments", In(SEGMENT), Master;
    ATTACHED_FILE = 0x61A7, "AttachedFile", In(ATTACHMENTS), Master;
    FILE_DESCRIPTION = 0x467E, "FileDescription", In(ATTACHED_FILE), Text;
    FILE_NAME = 0x466E, "FileName", In(ATTACHED_FILE), Text;
    FILE_MEDIA_TYPE = 0x4660, "FileMediaType", In(ATTACHED_FILE), Text;
    FILE_DATA = 0x465C, "FileData", In(ATTACHED_FILE), Binary;
    FILE_UID = 0x46AE, "FileUID", In(ATTACHED_FILE), Uint;
    FILE_REFERRAL = 0x4675, "FileReferral", In(ATTACHED_FILE), Binary;
    FILE_USED_START_TIME = 0x4661, "FileUsedStartTime", In(ATTACHED_FILE), Uint;
    FILE_USED_END_TIME = 0x4662, "FileUsedEndTime", In(ATTACHED_FILE), Uint;
    CHAPTERS = 0x1043_A770, "Chapters", In(SEGMENT), Master;
    EDITION_ENTRY = 0x45B9, "EditionEntry", In(CHAPTERS), Master;
    EDITION_UID = 0x45BC, "EditionUID", In(EDITION_ENTRY), Uint;
    EDITION_FLAG_HIDDEN = 0x45BD, "EditionFlagHidden", In(EDITION_ENTRY), Uint;
    EDITION_FLAG_DEFAULT = 0x45DB, "EditionFlagDefault", In(EDITION_ENTRY), Uint;
    EDITION_FLAG_ORDERED = 0x45DD, "EditionFlagOrdered", In(EDITION_ENTRY), Uint;
    EDITION_DISPLAY = 0x4520, "EditionDisplay", In(EDITION_ENTRY), Master;
    EDITION_STRING = 0x4521, "EditionString", In(EDITION_DISPLAY), Text;
    EDITION_LANGUAGE_IETF = 0x45E4, "EditionLanguageIETF", In(EDITION_DISPLAY), Text;
    CHAPTER_ATOM = 0xB6, "ChapterAtom", In(EDITION_ENTRY), Master;
    CHAPTER_UID = 0x73C4, "ChapterUID", In(CHAPTER_ATOM), Uint;
    CHAPTER_STRING_UID = 0x5654, "ChapterStringUID", In(CHAPTER_ATOM), Text;
    CHAPTER_TIME_START = 0x91, "ChapterTimeStart", In(CHAPTER_ATOM), Uint;
    CHAPTER_TIME_END = 0x92, "ChapterTimeEnd", In(CHAPTER_ATOM), Uint;
    CHAPTER_FLAG_HIDDEN = 0x98, "ChapterFlagHidden", In(CHAPTER_ATOM), Uint;
    CHAPTER_FLAG_ENABLED = 0x4598, "ChapterFlagEnabled", In(CHAPTER_ATOM), Uint;
    CHAPTER_SEGMENT_UUID = 0x6E67, "ChapterSegmentUUID", In(CHAPTER_ATOM), Binary;
    CHAPTER_SKIP_TYPE = 0x4588, "ChapterSkipType", In(CHAPTER_ATOM), Uint;
    CHAPTER_SEGMENT_EDITION_UID = 0x6EBC, "ChapterSegmentEditionUID", In(CHAPTER_ATOM), Uint;
    CHAPTER_PHYSICAL_EQUIV = 0x63C3, "ChapterPhysicalEquiv", In(CHAPTER_ATOM), Uint;
    CHAPTER_TRACK = 0x8F, "ChapterTrack", In(CHAPTER_ATOM), Master;
    CHAPTER_TRACK_UID = 0x89, "ChapterTrackUID", In(CHAPTER_TRACK), Uint;
    CHAPTER_DISPLAY = 0x80, "ChapterDisplay", In(CHAPTER_ATOM), Master;
    CHAP_STRING = 0x85, "ChapString", In(CHAPTER_DISPLAY), Text;
    CHAP_LANGUAGE = 0x437C, "ChapLanguage", In(CHAPTER_DISPLAY), Text;
    CHAP_LANGUAGE_BCP47 = 0x437D, "ChapLanguageBCP47", In(CHAPTER_DISPLAY), Text;
    CHAP_COUNTRY = 0x437E, "ChapCountry", In(CHAPTER_DISPLAY), Text;
    CHAP_PROCESS = 0x6944, "ChapProcess", In(CHAPTER_ATOM), Master;
    CHAP_PROCESS_CODEC_ID = 0x6955, "ChapProcessCodecID", In(CHAP_PROCESS), Uint;
    CHAP_PROCESS_PRIVATE = 0x450D, "ChapProcessPrivate", In(CHAP_PROCESS), Binary;
    CHAP_PROCESS_COMMAND = 0x6911, "ChapProcessCommand", In(CHAP_PROCESS), Master;
    CHAP_PROCESS_TIME = 0x6922, "ChapProcessTime", In(CHAP_PROCESS_COMMAND), Uint;
    CHAP_PROCESS_DATA = 0x6933, "ChapProcessData", In(CHAP_PROCESS_COMMAND), Binary;
    TAGS = 0x1254_C367, "Tags", In(SEGMENT), Master;
    TAG = 0x7373, "Tag", In(TAGS), Master;
    TARGETS = 0x63C0, "Targets", In(TAG), Master;
    TARGET_TYPE_VALUE = 0x68CA, "TargetTypeValue", In(TARGETS), Uint;
    TARGET_TYPE = 0x63CA, "TargetType", In(TARGETS), Text;
    TAG_TRACK_UID = 0x63C5, "TagTrackUID", In(TARGETS), Uint;
    TAG_EDITION_UID = 0x63C9, "TagEditionUID", In(TARGETS), Uint;
    TAG_CHAPTER_UID = 0x63C4, "TagChapterUID", In(TARGETS), Uint;
    TAG_ATTACHMENT_UID = 0x63C6, "TagAttachmentUID", In(TARGETS), Uint;
    TAG_BLOCK_ADD_ID_VALUE = 0x63CB, "TagBlockAddIDValue", In(TARGETS), Uint;
    SIMPLE_TAG = 0x67C8, "SimpleTag", In(TAG), Master;
    TAG_NAME = 0x45A3, "TagName", In(SIMPLE_TAG), Text;
    TAG_LANGUAGE = 0x447A, "TagLanguage", In(SIMPLE_TAG), Text;
    TAG_LANGUAGE_BCP47 = 0x447B, "TagLanguageBCP47", In(SIMPLE_TAG), Text;
    TAG_DEFAULT = 0x4484, "TagDefault", In(SIMPLE_TAG), Uint;
    TAG_DEFAULT_BOGUS = 0x44B4, "TagDefaultBogus", In(SIMPLE_TAG), Uint;
    TAG_STRING = 0x4487, "TagString", In(SIMPLE_TAG), Text;
    TAG_BINARY = 0x4485, "TagBinary", In(SIMPLE_TAG), Binary;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ebml::vint::{Vint, read_id};

    #[test]
    fn a_row_has_name_type_and_parent() {
        let row = lookup(id::SIMPLE_BLOCK).unwrap();
        assert_eq!((row.name, row.kind), ("SimpleBlock", Kind::Binary));
        assert_eq!(row.parent, Parent::In(id::CLUSTER));
    }

    #[test]
    fn every_row_is_consistent() {
        let mut seen = HashSet::new();
        for row in all() {
            let octets = row.id.0.to_be_bytes();
            let octets = &octets[4 - usize::from(row.id.width())..];
            assert_eq!(read_id(octets), Vint::Read(row.id.0, row.id.width()), "{}", row.name);
            assert!(seen.insert(row.name), "{} is listed twice", row.name);
            if let Parent::In(parent) = row.parent {
                let parent = lookup(parent).unwrap();
                assert_eq!(parent.kind, Kind::Master, "{} in {}", row.name, parent.name);
                assert!(seen.contains(parent.name), "{} before its parent", row.name);
            }
        }
        assert!(seen.len() > 240);
    }

    #[test]
    fn a_cluster_of_unknown_size_ends_at_its_siblings_and_above() {
        let ends = |next| ends_unknown_size(id::CLUSTER, next);
        for next in [id::CLUSTER, id::TAGS, id::CUES, id::EBML, id::SEGMENT] {
            assert!(ends(next), "{next}");
        }
        for next in [id::SIMPLE_BLOCK, id::VOID, id::CRC_32, ElementId(0x4D4D), id::TRACK_NUMBER] {
            assert!(!ends(next), "{next}");
        }
    }
}
