//! `kvs ls`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// List streams.
#[derive(Args)]
pub(crate) struct Ls {}

impl Ls {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
