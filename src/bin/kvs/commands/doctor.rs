//! `kvs doctor`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Check credentials, region, clock, network and each permission.
#[derive(Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
