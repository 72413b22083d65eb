//! `kvs completions`.

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;
use crate::failure::Result;

/// Print completions for a shell.
///
/// For bash: `kvs completions bash >~/.local/share/bash-completion/completions/kvs`. For zsh, write them to a file `_kvs`
/// in a folder of `$fpath`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: clap::Command, cx: &Context) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "kvs", &mut script);
        cx.screen.raw(&script)
    }
}
