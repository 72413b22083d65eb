//! `kvs images`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Save pictures of a stored range, made by the service.
#[derive(Args)]
pub(crate) struct Images {}

impl Images {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
