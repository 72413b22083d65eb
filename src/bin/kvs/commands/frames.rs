//! `kvs frames`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Save pictures of a SOURCE.
#[derive(Args)]
pub(crate) struct Frames {}

impl Frames {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
