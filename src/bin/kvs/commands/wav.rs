//! `kvs wav`.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

/// Save Amazon Connect calls as WAV files.
#[derive(Args)]
pub(crate) struct Wav {}

impl Wav {
    pub(crate) async fn run(self, _cx: &Context) -> Result<()> {
        todo!()
    }
}
