//! `kvs list`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// List what is stored.
#[derive(Args)]
pub(crate) struct List {}

impl List {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
