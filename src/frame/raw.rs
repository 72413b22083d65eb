//! Access to fields that the FFmpeg binding does not cover, or covers unsoundly. The only `unsafe` code.
#![allow(unsafe_code, reason = "the binding does not set some fields of FFmpeg's structures and misreads others")]

use std::ptr;

use ffmpeg_next::{Error, codec, ffi, frame};

/// The offset added to the log level of a decoder's messages. libavcodec prints messages with a level up to 32
/// to the standard error output. With the offset it prints none, unless the program raises FFmpeg's log level.
const QUIET: i32 = 32;

/// The parameters that a decoder needs before it is opened.
pub(super) struct Parameters<'a> {
    pub(super) private: &'a [u8],
    pub(super) fourcc: Option<[u8; 4]>,
    pub(super) bits_per_pixel: u16,
    pub(super) size: Option<(i32, i32)>,
    pub(super) max_pixels: u64,
}

/// Sets them on a codec context that is not open yet.
///
/// # Errors
/// If memory cannot be allocated.
pub(super) fn set_parameters(context: &mut codec::Context, parameters: &Parameters<'_>) -> Result<(), Error> {
    let Parameters { private, fourcc, bits_per_pixel, size, max_pixels } = parameters;
    let length = i32::try_from(private.len()).map_err(|_| Error::InvalidData)?;
    // SAFETY: `context` owns the codec context that the pointer points to. It is not open yet, so its fields may
    // be set. libavcodec frees `extradata` with the context. It requires memory of its own allocator with zero
    // padding at the end, which `av_mallocz` returns. At most `private.len()` bytes of it are written.
    unsafe {
        let raw = context.as_mut_ptr();
        if raw.is_null() {
            return Err(Error::Unknown);
        }
        (*raw).log_level_offset = QUIET;
        (*raw).max_pixels = i64::try_from(*max_pixels).unwrap_or(i64::MAX);
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

/// Returns the values of a picture's colour range and matrix (AVColorRange, AVColorSpace).
///
/// Some decoders copy them from the stream unchecked, so they may be values that the binding's enums lack.
pub(super) fn colors_of(video: &frame::Video) -> (i32, i32) {
    // SAFETY: `video` owns the frame that the pointer points to. The fields are C enums of the size of an `int`.
    // They are read as integers, never as Rust enums.
    unsafe {
        let raw = video.as_ptr();
        let range = ptr::addr_of!((*raw).color_range).cast::<i32>().read();
        let matrix = ptr::addr_of!((*raw).colorspace).cast::<i32>().read();
        (range, matrix)
    }
}

/// Returns the bytes of a plane and its stride. `None` if it is stored bottom up, or outside the frame's buffers.
///
/// The bytes include the padding after the last row if that is in the buffer.
pub(super) fn plane_of(video: &frame::Video, index: usize, row_bytes: usize, rows: usize) -> Option<(&[u8], usize)> {
    // SAFETY: `video` owns the frame that the pointer points to. The slice is checked to be inside one of the
    // buffers that the frame references, so it lives as long as `video`. A decoded frame is not written again.
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
