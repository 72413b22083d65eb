//! `kvs clip`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Save a stored range as MP4, made by the service.
#[derive(Args)]
pub(crate) struct Clip {}

impl Clip {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
