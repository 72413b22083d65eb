//! The version, as `kvs --version` prints it.

/// Returns the version of the crate.
pub(crate) fn short() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Returns the version with the features and the version of libavcodec.
pub(crate) fn long() -> String {
    let features = [
        ("cli", true),
        ("ffmpeg", cfg!(feature = "ffmpeg")),
        ("turbojpeg", cfg!(feature = "turbojpeg")),
        ("metrics", cfg!(feature = "metrics")),
    ];
    let enabled: Vec<_> = features.iter().filter(|(_, enabled)| *enabled).map(|(name, _)| *name).collect();
    format!("{}\nfeatures: {}{}", short(), enabled.join(", "), ffmpeg())
}

#[cfg(feature = "ffmpeg")]
fn ffmpeg() -> String {
    let version = ffmpeg_next::codec::version();
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xFF, version & 0xFF);
    format!("\nFFmpeg: libavcodec {major}.{minor}.{micro}")
}

#[cfg(not(feature = "ffmpeg"))]
fn ffmpeg() -> &'static str {
    ""
}
