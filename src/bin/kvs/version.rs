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
    let mut text = format!("{}\nfeatures: {}", short(), enabled.join(", "));
    #[cfg(feature = "ffmpeg")]
    {
        let version = ffmpeg_next::codec::version();
        let (major, minor, micro) = (version >> 16, version >> 8 & 0xFF, version & 0xFF);
        text.push_str(&format!("\nFFmpeg: libavcodec {major}.{minor}.{micro}"));
    }
    text
}
