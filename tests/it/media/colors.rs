//! Colours, against the formulas of ITU-T H.273 in floating point, and encoded files, against other programs.

use futures::TryStreamExt;
use kinesis_video::frame::{ColorMatrix, ColorRange};
use kinesis_video::{FragmentStreamExt, Frame, FrameStreamExt};

use crate::support::ffmpeg::ffmpeg_bytes;
use crate::support::footage::{footage, fragment, source};

/// Saturated bars, then the corners of the colour cube.
const BARS: &str = "smptehdbars=size=448x128:rate=5:duration=1,format=rgb24[a];rgbtestsrc=size=448x120:rate=5:duration=1,format=rgb24[b];[a][b]vstack";

async fn pictures(arguments: &[&str]) -> Vec<Frame> {
    let file = fragment(&footage(BARS, arguments)).await;
    source(&[file]).frames().try_collect().await.unwrap()
}

/// The samples of a plane.
struct Samples<'a> {
    rows: Vec<&'a [u8]>,
    bits: u32,
}

impl Samples<'_> {
    fn at(&self, x: usize, y: usize) -> f64 {
        let row = self.rows[y];
        match self.bits {
            8 => f64::from(row[x]),
            _ => f64::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]])),
        }
    }
}

/// Red, green and blue by the formulas. A chroma sample applies to all pixels that share it.
fn formula(frame: &Frame, bits: u32, across: usize, down: usize) -> Vec<[f64; 3]> {
    let planes: Vec<Samples<'_>> =
        (0..3).map(|index| Samples { rows: frame.plane(index).unwrap().iter().collect(), bits }).collect();
    let (kr, kb) = match frame.matrix() {
        ColorMatrix::Bt601 => (0.299, 0.114),
        ColorMatrix::Bt709 => (0.2126, 0.0722),
        ColorMatrix::Bt2020 => (0.2627, 0.0593),
        other => panic!("{other:?}"),
    };
    let scale = f64::from(1u32 << (bits - 8));
    let most = f64::from((1u32 << bits) - 1);
    let mut out = Vec::new();
    for y in 0..frame.info().height() as usize {
        for x in 0..frame.info().width() as usize {
            let sample = |plane: usize| match plane {
                0 => planes[0].at(x, y),
                _ => planes[plane].at(x >> across, y >> down) - 128.0 * scale,
            };
            let (luma, blue, red) = match frame.range() {
                ColorRange::Full => (sample(0) / most, sample(1) / most, sample(2) / most),
                ColorRange::Limited => (
                    (sample(0) - 16.0 * scale) / (219.0 * scale),
                    sample(1) / (224.0 * scale),
                    sample(2) / (224.0 * scale),
                ),
            };
            let r = luma + 2.0 * (1.0 - kr) * red;
            let b = luma + 2.0 * (1.0 - kb) * blue;
            let g = (luma - kr * r - kb * b) / (1.0 - kr - kb);
            out.push([r, g, b].map(|part| (part * 255.0).clamp(0.0, 255.0)));
        }
    }
    out
}

#[tokio::test]
async fn rgb_is_within_two_of_the_formula_for_every_format() {
    let matrices = [
        ("bt709", ColorMatrix::Bt709),
        ("smpte170m", ColorMatrix::Bt601),
        ("bt2020nc", ColorMatrix::Bt2020),
        ("", ColorMatrix::Bt601),
    ];
    let ranges = [("tv", ColorRange::Limited), ("pc", ColorRange::Full)];
    let formats = [
        ("yuv420p", 8, 1, 1),
        ("yuv422p", 8, 1, 0),
        ("yuv444p", 8, 0, 0),
        ("yuv420p10le", 10, 1, 1),
        ("yuv422p10le", 10, 1, 0),
        ("yuv444p10le", 10, 0, 0),
    ];
    let mut worst = 0f64;
    for (matrix, expected_matrix) in matrices {
        for (range, expected_range) in ranges {
            for (format, bits, across, down) in formats {
                let name = format!("{matrix} {range} {format}");
                let convert = match matrix {
                    "" => format!("scale=out_range={range}:flags=accurate_rnd,format={format}"),
                    "bt2020nc" => {
                        format!("scale=out_color_matrix=bt2020:out_range={range}:flags=accurate_rnd,format={format}")
                    }
                    _ => {
                        format!("scale=out_color_matrix={matrix}:out_range={range}:flags=accurate_rnd,format={format}")
                    }
                };
                let mut arguments = vec!["-vf", &convert, "-c:v", "libx264", "-crf", "1", "-color_range", range];
                if !matrix.is_empty() {
                    arguments.extend(["-colorspace", matrix]);
                }
                let frame = pictures(&arguments).await.remove(0);
                assert_eq!((frame.matrix(), frame.range()), (expected_matrix, expected_range), "{name}");
                // FFmpeg has other names for some formats of full range.
                assert_eq!(frame.format().name().replace("yuvj", "yuv"), format);
                let rgb = frame.to_rgb().unwrap();
                for (ours, formula) in rgb.pixels().zip(formula(&frame, bits, across, down)) {
                    for (ours, formula) in ours.0.iter().zip(formula) {
                        let error = (f64::from(*ours) - formula).abs();
                        worst = worst.max(error);
                        assert!(error <= 2.0, "{name}: {ours} for {formula}");
                    }
                }
                // The matrix is the one of the encoder, so red is red.
                for (y, pure) in [(148, [255, 0, 0]), (188, [0, 255, 0]), (228, [0, 0, 255])] {
                    let pixel = rgb.get_pixel(445, y).0;
                    let is_near = pixel.iter().zip(pure).all(|(ours, pure)| ours.abs_diff(pure) <= 8);
                    assert!(is_near, "{name}: {pixel:?} for {pure:?}");
                }
                // So it is in a scaled picture.
                let small = frame.scale_within(224, 1000).unwrap();
                assert_eq!((small.info().width(), small.info().height(), small.format()), (224, 124, frame.format()));
                let pixel = small.to_rgb().unwrap().get_pixel(222, 74).0;
                assert!(
                    pixel.iter().zip([255, 0, 0]).all(|(ours, pure)| ours.abs_diff(pure) <= 8),
                    "{name}: {pixel:?}"
                );
            }
        }
    }
    eprintln!("the worst is {worst:.2} off");
}

#[tokio::test]
async fn other_formats_convert_like_ffmpeg() {
    let cases = [
        (vec!["-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-q:v", "1"], "yuvj422p"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "gray"], "gray"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "gray10le"], "gray10le"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "gbrp10le"], "gbrp10le"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "bgr0"], "bgr0"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "yuv411p"], "yuv411p"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "yuv440p"], "yuv440p"),
        (vec!["-c:v", "ffv1", "-pix_fmt", "yuv420p12le"], "yuv420p12le"),
    ];
    for (arguments, format) in cases {
        let file = footage(BARS, &arguments);
        let frames: Vec<Frame> = source(&[fragment(&file).await]).frames().try_collect().await.unwrap();
        assert_eq!(frames[0].format().name(), format);
        let path = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
        std::fs::write(path.path(), &file).unwrap();
        let scale = "scale=flags=neighbor+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24";
        let input = ["-i", path.path().to_str().unwrap()];
        let judged = ffmpeg_bytes(&input, &["-vf", scale, "-frames:v", "1", "-f", "rawvideo"]);
        let ours = frames[0].to_rgb().unwrap().into_raw();
        assert_eq!(ours.len(), judged.len(), "{format}");
        // FFmpeg interpolates chroma, and this crate does not.
        let off = ours.iter().zip(&judged).filter(|(ours, judged)| ours.abs_diff(**judged) > 3).count();
        assert!(off * 20 < ours.len(), "{format}: {off} of {}", ours.len());
        let luma = frames[0].to_luma().unwrap();
        assert_eq!(luma.dimensions(), (448, 248));
        assert_eq!(frames[0].scale_within(100, 100).unwrap().to_rgb().unwrap().dimensions(), (100, 55));
    }
}

#[tokio::test]
async fn luma_has_full_range() {
    for range in ["tv", "pc"] {
        let convert = format!("scale=out_range={range},format=yuv420p");
        let frames = pictures(&["-vf", &convert, "-c:v", "libx264", "-crf", "1", "-color_range", range]).await;
        let luma = frames[0].to_luma().unwrap();
        let (darkest, brightest) = (luma.iter().min().unwrap(), luma.iter().max().unwrap());
        assert!(*darkest <= 3 && *brightest >= 252, "{range}: {darkest} to {brightest}");
    }
}

#[tokio::test]
async fn encoded_files_decode_to_the_same_picture() {
    let file = footage(
        "testsrc2=size=641x362:rate=5:duration=1,format=yuv444p,scale=642:362",
        &["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"],
    );
    let frames: Vec<Frame> = source(&[fragment(&file).await]).frames().try_collect().await.unwrap();
    let rgb = frames[2].to_rgb().unwrap().into_raw();
    let one = || futures::stream::iter([Ok(frames[2].clone())]);
    let read = |bytes: &[u8], kind: &str| {
        let path = tempfile::NamedTempFile::with_suffix(kind).unwrap();
        std::fs::write(path.path(), bytes).unwrap();
        ffmpeg_bytes(
            &["-i", path.path().to_str().unwrap()],
            &["-pix_fmt", "rgb24", "-sws_flags", "accurate_rnd+full_chroma_int", "-f", "rawvideo"],
        )
    };
    let png = one().png().try_next().await.unwrap().unwrap();
    assert_eq!(read(png.bytes(), ".png"), rgb, "PNG loses nothing");
    let jpeg = one().jpeg(90).try_next().await.unwrap().unwrap();
    let decoded = read(jpeg.bytes(), ".jpg");
    assert_eq!(decoded.len(), rgb.len());
    let square: f64 = decoded.iter().zip(&rgb).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let noise = 10.0 * (255.0 * 255.0 * rgb.len() as f64 / square).log10();
    eprintln!("JPEG of quality 90: {noise:.1} dB");
    assert!(noise > 35.0, "{noise} dB");
    assert!(one().jpeg(30).try_next().await.unwrap().unwrap().bytes().len() < jpeg.bytes().len());
}
