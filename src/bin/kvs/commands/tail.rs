//! `kvs tail`.

use clap::Args;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{Selection, Source, save_position};

/// Follow one or more SOURCEs, a line per fragment.
#[derive(Args)]
pub(crate) struct Tail {
    /// The streams or files to follow.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Source>,
    #[command(flatten)]
    selection: Selection,
}

impl Tail {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        use futures::TryStreamExt;
        for source in &self.sources {
            let mut input = self.selection.open(source, cx).await?;
            let result = async {
                while let Some(fragment) = input.items.try_next().await? {
                    cx.screen.line(&format!("{:?}", fragment.number()))?;
                    if let Some(acks) = &input.acks {
                        acks.done(&fragment.position());
                    }
                }
                Ok::<_, Failure>(())
            }
            .await;
            input.bar.finish_and_clear();
            save_position(input.acks, cx).await?;
            result.map_err(|f| f.about(source.to_string()))?;
        }
        Ok(())
    }
}
