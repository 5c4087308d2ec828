//! `lineament models`.

use super::out::{self, say};
use crate::error::Result;
use crate::vision::models::SUPER_RESOLUTION;
use crate::vision::models::shipped;
use crate::weights::Weights;
use clap::Args;
use serde_json::json;

/// Characters per line.
const WIDTH: usize = 80;

/// List the networks whose weights come with lineament.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament models
  lineament models --json

The information comes from the manifest of each weights file: the training data and their terms, and the scores with the pictures \
that they were measured on.")]
pub struct Arguments {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// The weights files of one network.
struct Group {
    name: &'static str,
    files: Vec<(usize, usize, Weights)>,
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let mut groups: Vec<Group> = Vec::new();
    for shipped in shipped::all() {
        let (name, file) = (shipped.model, (shipped.scale, shipped.bytes.len(), shipped.open()?));
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.files.push(file),
            None => groups.push(Group { name, files: vec![file] }),
        }
    }
    for group in &groups {
        for line in lines(group) {
            say!("{line}");
        }
    }
    let missing = SUPER_RESOLUTION.iter().filter(|name| groups.iter().all(|group| group.name != **name));
    say!("without weights: {} (give --weights FILE)", missing.copied().collect::<Vec<_>>().join(", "));
    if arguments.json {
        let models = groups.iter().flat_map(|group| {
            group.files.iter().map(|(scale, bytes, weights)| {
                let said = |key| weights.manifest().get(key);
                json!({
                    "name": group.name, "command": command(group.name), "scale": scale, "file_bytes": bytes,
                    "measured": said("measured"), "data": said("data"), "data_terms": said("data_terms"),
                    "licence": said("licence"), "sha256": said("sha256"),
                })
            })
        });
        out::json(&json!({ "models": models.collect::<Vec<_>>() }));
    }
    Ok(0)
}

/// Returns the command that uses a network.
fn command(name: &str) -> String {
    match name.strip_prefix("cbn-") {
        Some(preset) => format!("lineament hallucinate --preset {preset}"),
        None if name == "attributes" => "lineament attributes".to_owned(),
        None if name == "faces" => "lineament detect".to_owned(),
        None => format!("lineament upscale --model {name}"),
    }
}

fn lines(group: &Group) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", group.name, command(group.name))];
    for (scale, bytes, weights) in &group.files {
        let enlarges = if *scale > 1 { format!("×{scale}") } else { "  ".to_owned() };
        let begin = format!("  {enlarges} {:>7}  ", size(*bytes));
        let measured = weights.manifest().get("measured").map_or("not measured", String::as_str);
        lines.extend(wrapped(&begin, &without_folders(measured)));
    }
    let mut add = |title: &str, key: &str| {
        let mut said: Vec<&str> =
            group.files.iter().map(|(_, _, w)| w.manifest().get(key).map_or("unknown", String::as_str)).collect();
        said.dedup();
        lines.extend(wrapped(&format!("  {title}: "), &said.join("; ")));
    };
    add("training data", "data_terms");
    add("licence of the weights", "licence");
    lines.push(String::new());
    lines
}

/// Formats a size: `53 KiB`, `5.5 MiB`.
fn size(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1000.0 { format!("{kib:.0} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

/// Replaces each path in a sentence by its last part.
fn without_folders(text: &str) -> String {
    let last = |word: &'_ str| word.rsplit('/').find(|part| !part.is_empty()).unwrap_or(word).to_owned();
    text.split(' ').map(last).collect::<Vec<_>>().join(" ")
}

/// Wraps `text` after `begin` in lines of [`WIDTH`]; later lines are indented by the length of `begin`, at most `WIDTH / 4`.
fn wrapped(begin: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(begin.chars().count().min(WIDTH / 4));
    let mut lines = vec![begin.to_owned()];
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        let room = WIDTH.saturating_sub(line.chars().count());
        if is_empty {
            *line += word;
        } else if word.chars().count() < room {
            *line += " ";
            *line += word;
        } else {
            lines.push(format!("{indent}{word}"));
        }
        is_empty = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped_below_each_other() {
        let text = "word ".repeat(40);
        let lines = wrapped("  title: ", &text);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert!(lines[1].starts_with("         word") && lines[0].starts_with("  title: word"));
        assert_eq!(lines.join(" ").split_whitespace().filter(|w| *w == "word").count(), 40);
        assert_eq!(without_folders("32 dB on ../shared/sr/set5 (border 3)"), "32 dB on set5 (border 3)");
        assert_eq!([53_932, 5_722_572].map(size), ["53 KiB", "5.5 MiB"]);
    }
}
