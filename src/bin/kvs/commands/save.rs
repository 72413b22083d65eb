//! `kvs save`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// TODO
#[derive(Args)]
pub(crate) struct Save {}

impl Save {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
