//! `kvs man`.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::failure::{Failure, Result};

/// Print the manual page, or write the pages of all commands to a folder.
#[derive(Args)]
pub(crate) struct Man {
    /// The folder for one page per command, such as ~/.local/share/man/man1.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, command: clap::Command, cx: &Context) -> Result<()> {
        match self.output {
            Some(dir) => {
                std::fs::create_dir_all(&dir).map_err(|error| Failure::of_file("create", &dir, &error))?;
                clap_mangen::generate_to(command, &dir).map_err(|error| Failure::of_file("write to", &dir, &error))
            }
            None => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(command).render(&mut page);
                rendered.map_err(|error| Failure::other("cannot write the page").why(error.to_string()))?;
                cx.screen.raw(&page)
            }
        }
    }
}
