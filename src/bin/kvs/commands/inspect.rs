//! `kvs inspect`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// TODO
#[derive(Args)]
pub(crate) struct Inspect {}

impl Inspect {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
