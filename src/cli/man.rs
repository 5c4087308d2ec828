//! `lineament man`.

use super::out::{self, say};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Write the manual as man pages.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament man ~/.local/share/man/man1    # then: man lineament, man lineament-upscale
  lineament man pages/ --overwrite

One page per command: lineament.1, lineament-upscale.1, lineament-check-ops.1, …")]
pub struct Arguments {
    /// Folder for the pages; it is created if it does not exist.
    folder: PathBuf,
    /// Overwrite pages that exist.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// Collects the file names and contents of the pages of `command` and its subcommands.
fn pages(command: &clap::Command, found: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    found.push((page.get_filename(), text));
    command.get_subcommands().filter(|c| c.get_name() != "help").try_for_each(|c| pages(c, found))
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let (folder, existing) = (&arguments.folder, Existing::overwrite(arguments.overwrite));
    let mut command = super::definition();
    // Resolves the names of subcommands and the global options.
    command.build();
    let mut found = Vec::new();
    pages(&command, &mut found).map_err(|e| Error::io(folder, e))?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    for (name, _) in &found {
        files::check_output(&folder.join(name), existing)?;
    }
    let mut written = Vec::new();
    for (name, text) in found {
        let path = folder.join(name);
        files::write_whole(&path, existing, |file| file.write_all(&text).map_err(|e| Error::io(&path, e)))?;
        say!("{}", out::shown(&path));
        written.push(out::path(&path));
    }
    if arguments.json {
        out::json(&json!({ "files": written }));
    }
    Ok(0)
}
