//! `kvs url`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Print a URL at which a player plays a stream.
#[derive(Args)]
pub(crate) struct Url {}

impl Url {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
