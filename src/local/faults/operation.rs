//! The operations that the endpoint serves.

/// An operation of the service that the local endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// DescribeStream.
    DescribeStream,
    /// GetClip.
    GetClip,
    /// GetDASHStreamingSessionURL.
    GetDashStreamingSessionUrl,
    /// GetDataEndpoint.
    GetDataEndpoint,
    /// GetHLSStreamingSessionURL.
    GetHlsStreamingSessionUrl,
    /// GetImages.
    GetImages,
    /// GetMedia.
    GetMedia,
    /// GetMediaForFragmentList.
    GetMediaForFragmentList,
    /// ListFragments.
    ListFragments,
    /// ListStreams.
    ListStreams,
}

impl Operation {
    /// Returns the operation served at this path.
    pub(crate) fn at_path(path: &str) -> Option<Self> {
        Some(match path {
            "/describeStream" => Self::DescribeStream,
            "/getClip" => Self::GetClip,
            "/getDASHStreamingSessionURL" => Self::GetDashStreamingSessionUrl,
            "/getDataEndpoint" => Self::GetDataEndpoint,
            "/getHLSStreamingSessionURL" => Self::GetHlsStreamingSessionUrl,
            "/getImages" => Self::GetImages,
            "/getMedia" => Self::GetMedia,
            "/getMediaForFragmentList" => Self::GetMediaForFragmentList,
            "/listFragments" => Self::ListFragments,
            "/listStreams" => Self::ListStreams,
            _ => return None,
        })
    }

    /// Returns the name in the API reference.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DescribeStream => "DescribeStream",
            Self::GetClip => "GetClip",
            Self::GetDashStreamingSessionUrl => "GetDASHStreamingSessionURL",
            Self::GetDataEndpoint => "GetDataEndpoint",
            Self::GetHlsStreamingSessionUrl => "GetHLSStreamingSessionURL",
            Self::GetImages => "GetImages",
            Self::GetMedia => "GetMedia",
            Self::GetMediaForFragmentList => "GetMediaForFragmentList",
            Self::ListFragments => "ListFragments",
            Self::ListStreams => "ListStreams",
        }
    }

    /// Tells whether callers ask GetDataEndpoint for the operation's endpoint.
    pub(crate) fn has_endpoint(self) -> bool {
        !matches!(self, Self::DescribeStream | Self::GetDataEndpoint | Self::ListStreams)
    }

    /// Returns the operation with this APIName of GetDataEndpoint.
    pub(crate) fn of_api(name: &str) -> Option<Self> {
        Some(match name {
            "GET_CLIP" => Self::GetClip,
            "GET_DASH_STREAMING_SESSION_URL" => Self::GetDashStreamingSessionUrl,
            "GET_HLS_STREAMING_SESSION_URL" => Self::GetHlsStreamingSessionUrl,
            "GET_IMAGES" => Self::GetImages,
            "GET_MEDIA" => Self::GetMedia,
            "GET_MEDIA_FOR_FRAGMENT_LIST" => Self::GetMediaForFragmentList,
            "LIST_FRAGMENTS" => Self::ListFragments,
            _ => return None,
        })
    }
}
