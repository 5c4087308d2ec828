//! `lineament completions`.

use super::out;
use crate::error::Result;
use clap::Args;
use clap_complete::Shell;

/// Print a script that completes commands and options in a shell.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament completions bash > ~/.local/share/bash-completion/completions/lineament
  lineament completions zsh > ~/.zfunc/_lineament    # a folder of $fpath
  lineament completions fish > ~/.config/fish/completions/lineament.fish
  lineament completions powershell >> $PROFILE")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::definition(), "lineament", &mut script);
    out::product(&String::from_utf8_lossy(&script));
    Ok(0)
}
