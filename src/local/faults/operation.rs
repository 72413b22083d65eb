//! The operations that the endpoint serves.

/// An operation of the service that the local endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// CreateStream.
    CreateStream,
    /// DeleteStream.
    DeleteStream,
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
    /// ListTagsForStream.
    ListTagsForStream,
    /// PutMedia.
    PutMedia,
    /// TagStream.
    TagStream,
    /// UntagStream.
    UntagStream,
    /// UpdateDataRetention.
    UpdateDataRetention,
}

impl Operation {
    /// Returns the operation served at this path.
    pub(crate) fn at_path(path: &str) -> Option<Self> {
        Some(match path {
            "/createStream" => Self::CreateStream,
            "/deleteStream" => Self::DeleteStream,
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
            "/listTagsForStream" => Self::ListTagsForStream,
            "/putMedia" => Self::PutMedia,
            "/tagStream" => Self::TagStream,
            "/untagStream" => Self::UntagStream,
            "/updateDataRetention" => Self::UpdateDataRetention,
            _ => return None,
        })
    }

    /// Returns the name in the API reference.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateStream => "CreateStream",
            Self::DeleteStream => "DeleteStream",
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
            Self::ListTagsForStream => "ListTagsForStream",
            Self::PutMedia => "PutMedia",
            Self::TagStream => "TagStream",
            Self::UntagStream => "UntagStream",
            Self::UpdateDataRetention => "UpdateDataRetention",
        }
    }

    /// Tells whether callers ask GetDataEndpoint for the operation's endpoint.
    pub(crate) fn has_endpoint(self) -> bool {
        match self {
            Self::CreateStream
            | Self::DeleteStream
            | Self::DescribeStream
            | Self::GetDataEndpoint
            | Self::ListStreams
            | Self::ListTagsForStream
            | Self::TagStream
            | Self::UntagStream
            | Self::UpdateDataRetention => false,
            Self::GetClip
            | Self::GetDashStreamingSessionUrl
            | Self::GetHlsStreamingSessionUrl
            | Self::GetImages
            | Self::GetMedia
            | Self::GetMediaForFragmentList
            | Self::ListFragments
            | Self::PutMedia => true,
        }
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
            "PUT_MEDIA" => Self::PutMedia,
            _ => return None,
        })
    }
}
