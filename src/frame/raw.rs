//! What the binding to FFmpeg does not do, or not soundly: the one place with `unsafe`.
#![allow(
    unsafe_code,
    reason = "fields of FFmpeg's structures that the binding does not set, or takes for what they need not be"
)]

use std::ptr;

use ffmpeg_next::{Error, codec, ffi, frame};

/// libavcodec prints to the standard error output what is lower than 32, and a library has no business
/// there: with this much added nothing of a decoder is, unless the program asks FFmpeg for debugging output.
const QUIET: i32 = 32;

/// What a decoder has to know beforehand.
pub(super) struct Parameters<'a> {
    pub(super) private: &'a [u8],
    pub(super) fourcc: Option<[u8; 4]>,
    pub(super) bits_per_pixel: u16,
    pub(super) size: Option<(i32, i32)>,
    pub(super) most_pixels: u64,
}

/// Hands them to a codec context that is not opened yet.
///
/// # Errors
/// If there is no memory.
pub(super) fn set_parameters(context: &mut codec::Context, parameters: &Parameters<'_>) -> Result<(), Error> {
    let Parameters { private, fourcc, bits_per_pixel, size, most_pixels } = parameters;
    let length = i32::try_from(private.len()).map_err(|_| Error::InvalidData)?;
    // SAFETY: `context` owns the codec context that the pointer is to, and is not opened yet, so that
    // its fields may be set. libavcodec frees `extradata` with the context and wants it in memory of
    // its own allocator, with zeros behind it, which `av_mallocz` gives; of it no more than
    // `private.len()` bytes are written.
    unsafe {
        let raw = context.as_mut_ptr();
        if raw.is_null() {
            return Err(Error::Unknown);
        }
        (*raw).log_level_offset = QUIET;
        (*raw).max_pixels = i64::try_from(*most_pixels).unwrap_or(i64::MAX);
        if !private.is_empty() {
            let padded = private.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
            let extradata = ffi::av_mallocz(padded).cast::<u8>();
            if extradata.is_null() {
                return Err(Error::Unknown);
            }
            ptr::copy_nonoverlapping(private.as_ptr(), extradata, private.len());
            (*raw).extradata = extradata;
            (*raw).extradata_size = length;
        }
        if let Some(fourcc) = fourcc {
            (*raw).codec_tag = u32::from_le_bytes(*fourcc);
            (*raw).bits_per_coded_sample = i32::from(*bits_per_pixel);
        }
        if let Some((width, height)) = size {
            ((*raw).width, (*raw).height) = (*width, *height);
        }
    }
    Ok(())
}

/// The numbers of a picture's colour range and matrix (AVColorRange, AVColorSpace). Some decoders copy them from the stream
/// as they are, so that they need not be any that the binding's enums have.
pub(super) fn colors_of(video: &frame::Video) -> (i32, i32) {
    // SAFETY: `video` owns the frame that the pointer is to. The fields are C enums of the size of an `int`; they are read
    // as integers, never as Rust enums.
    unsafe {
        let raw = video.as_ptr();
        let range = ptr::addr_of!((*raw).color_range).cast::<i32>().read();
        let matrix = ptr::addr_of!((*raw).colorspace).cast::<i32>().read();
        (range, matrix)
    }
}

/// The bytes of a plane of so many rows, and from one row to the next. `None` if it lies upside down, or outside of the
/// frame's buffers. The bytes end with the last row, or with what lies behind it if that is in the buffer.
pub(super) fn plane_of(video: &frame::Video, index: usize, row_bytes: usize, rows: usize) -> Option<(&[u8], usize)> {
    // SAFETY: `video` owns the frame that the pointer is to. The slice is checked to lie in one of the buffers that the
    // frame holds a reference to, so that it lives as long as `video` does; what is decoded is not written to again.
    unsafe {
        let raw = &*video.as_ptr();
        let (data, stride) = (*raw.data.get(index)?, usize::try_from(*raw.linesize.get(index)?).ok()?);
        if data.is_null() || stride < row_bytes || rows == 0 {
            return None;
        }
        let needed = (rows - 1).checked_mul(stride)?.checked_add(row_bytes)?;
        let start = data as usize;
        let buffers = raw.buf.iter().take_while(|buffer| !buffer.is_null());
        let available = buffers.map(|buffer| {
            let buffer = &**buffer;
            let (from, length) = (buffer.data as usize, buffer.size);
            start.checked_sub(from).and_then(|before| length.checked_sub(before)).unwrap_or(0)
        });
        let available = available.max()?;
        let length = available.min(rows.checked_mul(stride)?);
        (needed <= length).then(|| (std::slice::from_raw_parts(data, length), stride))
    }
}
