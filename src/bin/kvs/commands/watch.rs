//! `kvs watch`.

use clap::Args;
use kinesis_video::viewer::Viewer;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::Source;

/// Watch streams in a browser: live picture, timeline, calls as sound, downloads.
///
/// A page on this machine reads the streams with your credentials. The first line is "watch at http://127.0.0.1:PORT/".
/// Only this machine can open it. Without a stream it shows all streams of the account and region. It ends with Ctrl-C.
///
/// All windows of a stream share one connection of GetMedia. The timeline costs calls of ListFragments, and playing costs
/// calls of GetMediaForFragmentList.
#[derive(Args)]
#[command(after_long_help = "\
Permissions: DescribeStream, GetDataEndpoint, GetMedia, ListFragments, GetMediaForFragmentList; ListStreams without STREAM.

Examples:
  kvs watch front-door --open
  kvs watch --profile lab")]
pub(crate) struct Watch {
    /// The names or ARNs of streams. Default: all.
    #[arg(value_name = "STREAM")]
    streams: Vec<Source>,
    /// Open the page in the default browser.
    #[arg(long)]
    open: bool,
    /// The port. Default: a free one.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
}

impl Watch {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let mut viewer = Viewer::new(cx.aws.kvs().await?);
        for source in &self.streams {
            viewer = viewer.stream(source.only_stream("a media player plays a file as it is")?.as_str());
        }
        let page = viewer.start(self.port).await?;
        cx.screen.line(&format!("watch at {}/", page.url()))?;
        if self.open
            && let Err(error) = open::that_detached(format!("{}/", page.url()))
        {
            let failure = Failure::other("cannot open a browser").why(error.to_string());
            cx.screen.failure(&failure.hint(format!("open {}/ yourself", page.url())));
        }
        cx.signals.interrupted().await;
        Ok(())
    }
}
