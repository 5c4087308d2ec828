//! Pairs pictures with output files, and rejects invalid requests before any work.

use super::super::out;
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::vision::image::{Format, Frames, Picture, Size, folder};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a picture comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    /// Bytes from stdin.
    Stdin(Arc<Vec<u8>>),
}

impl Input {
    /// Returns the name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin(_) => "standard input".into(),
        }
    }

    /// Returns the name for people.
    pub fn shown(&self) -> String {
        out::shown(self.name())
    }

    /// Returns the name for programs; stdin is `-`.
    pub fn json(&self) -> Value {
        match self {
            Self::File(path) => out::path(path),
            Self::Stdin(_) => "-".into(),
        }
    }

    /// Returns the size in the header, or `None` if it cannot be read and for stdin.
    pub fn measure(&self) -> Option<Size> {
        match self {
            Self::File(path) => Picture::measure(path),
            Self::Stdin(_) => None,
        }
    }

    /// Opens its pictures.
    ///
    /// # Errors
    /// Those of [`Frames::open`].
    pub fn open(&self) -> Result<Frames> {
        match self {
            Self::File(path) => Frames::open(path),
            Self::Stdin(bytes) => Frames::decode(bytes.to_vec(), &self.name()),
        }
    }
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    File(PathBuf),
    Stdout,
}

impl Output {
    /// Returns the name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdout => "standard output".into(),
        }
    }

    /// Returns the name for people.
    pub fn shown(&self) -> String {
        out::shown(self.name())
    }

    /// Returns the name for programs; stdout is `-`.
    pub fn json(&self) -> Value {
        match self {
            Self::File(path) => out::path(path),
            Self::Stdout => "-".into(),
        }
    }
}

/// A format and the extension that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub format: Format,
    pub extension: String,
}

impl std::str::FromStr for Ending {
    type Err = <Format as std::str::FromStr>::Err;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self { format: text.parse()?, extension: text.to_ascii_lowercase() })
    }
}

/// The request of the command line.
pub struct Asked<'a> {
    pub inputs: &'a [PathBuf],
    pub output: &'a Path,
    pub ending: Option<&'a Ending>,
    pub existing: Existing,
    pub compare: Option<&'a Path>,
}

/// A picture and the file that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub input: Input,
    pub output: Output,
    pub format: Format,
}

/// The pictures and their outputs.
pub struct Targets {
    /// In order.
    pub all: Vec<Target>,
    /// Whether the outputs lie in a folder, where existing ones count as done.
    pub is_folder: bool,
}

/// Returns whether `path` stands for stdin or stdout.
pub fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

impl Asked<'_> {
    /// Pairs inputs and outputs, and rejects requests that would fail after the work or destroy something.
    ///
    /// # Errors
    /// An input is missing, is a folder without pictures, or would be overwritten; outputs cannot be written, exist and must not
    /// be replaced, or would be the same file; a picture would be read from or written to a terminal.
    pub fn targets(&self) -> Result<Targets> {
        for input in self.inputs.iter().filter(|input| !is_dash(input)) {
            if let Err(e) = std::fs::metadata(input) {
                let is_missing = e.kind() == std::io::ErrorKind::NotFound;
                return Err(if is_missing {
                    refused(input, "there is no such file; check the path")
                } else {
                    Error::io(input, e)
                });
            }
        }
        let is_many = self.inputs.len() > 1 || self.inputs.iter().any(|input| input.is_dir());
        let pairs = if is_many { self.folder()? } else { vec![self.single()?] };
        let mut all = Vec::with_capacity(pairs.len());
        for (input, output) in pairs {
            let format = match (&output, self.ending) {
                (Output::Stdout, ending) => ending.map_or(Format::Png, |ending| ending.format),
                (Output::File(path), _) => Picture::format_for(&path.display().to_string())?,
            };
            all.push(Target { input, output, format });
        }
        let mut targets = Targets { all, is_folder: is_many };
        self.check(&targets)?;
        for target in &mut targets.all {
            if let Input::Stdin(bytes) = &mut target.input {
                *bytes = Arc::new(standard_input()?);
            }
        }
        Ok(targets)
    }

    fn single(&self) -> Result<(Input, Output)> {
        let input = &self.inputs[0];
        let output = match (is_dash(self.output), input.file_name()) {
            (true, _) => {
                if std::io::stdout().is_terminal() {
                    return Err(Error::Usage(
                        "standard output is a terminal, expected a file or a pipe for the picture; redirect it (> FILE), or \
                         name a file"
                            .into(),
                    ));
                }
                Output::Stdout
            }
            (false, name) if is_folder(self.output) => match name.filter(|_| !is_dash(input)) {
                Some(name) => Output::File(self.named(self.output.join(name))),
                None => return Err(refused(self.output, "is a folder; name the file to write")),
            },
            (false, _) => Output::File(self.output.to_owned()),
        };
        if let (Output::File(path), Some(Ending { format, extension })) = (&output, self.ending)
            && Format::of_name(&path.display().to_string()).is_some_and(|named| named != *format)
        {
            let problem = format!("names another format than --format {extension}; leave --format out");
            return Err(refused(path, &problem));
        }
        // Stdin is read after everything else has been checked.
        let input = if is_dash(input) { Input::Stdin(Arc::default()) } else { Input::File(input.clone()) };
        Ok((input, output))
    }

    fn folder(&self) -> Result<Vec<(Input, Output)>> {
        let out = self.output;
        if let Some(dash) = self.inputs.iter().find(|input| is_dash(input)) {
            return Err(refused(dash, "stands for the one picture of standard input; give it alone"));
        }
        if is_dash(out) {
            return Err(Error::Usage("standard output takes one picture; name a folder for several".into()));
        }
        let names_picture = Format::of_name(&out.display().to_string()).is_some() && self.inputs.len() > 1;
        if out.is_file() || names_picture && !out.is_dir() {
            return Err(refused(out, "is a file; several pictures go to a folder, so name a folder"));
        }
        let mut pairs: Vec<(PathBuf, PathBuf)> = Vec::new();
        let mut seen = HashSet::new();
        for input in self.inputs {
            if !input.is_dir() {
                let name = input.file_name().unwrap_or_default();
                if seen.insert(input.clone()) {
                    pairs.push((input.clone(), out.join(name)));
                }
                continue;
            }
            if out.exists() && out.canonicalize().ok() == input.canonicalize().ok() {
                return Err(refused(out, "is the input; choose another folder for the outputs"));
            }
            // With several inputs, a folder keeps its name, as with cp.
            let base = match input.file_name() {
                Some(name) if self.inputs.len() > 1 => out.join(name),
                _ => out.to_owned(),
            };
            for path in folder::pictures_below(input, out)? {
                let target = base.join(path.strip_prefix(input).unwrap_or(&path));
                if seen.insert(path.clone()) {
                    pairs.push((path, target));
                }
            }
        }
        self.rename(&mut pairs);
        Ok(pairs.into_iter().map(|(input, output)| (Input::File(input), Output::File(output))).collect())
    }

    /// Returns `path` with the extension of --format.
    fn named(&self, path: PathBuf) -> PathBuf {
        self.ending.map_or_else(|| path.clone(), |ending| path.with_extension(&ending.extension))
    }

    /// Gives the outputs the extension of --format: `a.png` becomes `a.webp`. If several would get the same name, each keeps its
    /// own extension before the new one, `a.png.webp` and `a.jpg.webp`, independent of their order, so that the same command
    /// finds its files again.
    fn rename(&self, pairs: &mut [(PathBuf, PathBuf)]) {
        let Some(ending) = self.ending else { return };
        let long = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".");
            name.push(&ending.extension);
            PathBuf::from(name)
        };
        let mut names: Vec<PathBuf> = pairs.iter().map(|(_, path)| self.named(path.clone())).collect();
        loop {
            let mut uses: HashMap<&Path, usize> = HashMap::new();
            names.iter().for_each(|name| *uses.entry(name).or_default() += 1);
            let is_shared: Vec<bool> = names.iter().map(|name| uses[name.as_path()] > 1).collect();
            let mut has_changed = false;
            for ((name, (_, path)), _) in names.iter_mut().zip(&*pairs).zip(is_shared).filter(|(_, shared)| *shared) {
                let long = long(path);
                has_changed |= *name != long;
                *name = long;
            }
            if !has_changed {
                break;
            }
        }
        for ((_, path), name) in pairs.iter_mut().zip(names) {
            *path = name;
        }
    }

    fn check(&self, targets: &Targets) -> Result<()> {
        // Links are followed only if an output exists that could be an input.
        let mut inputs: Option<HashSet<PathBuf>> = None;
        let mut is_input = |path: &Path| {
            let real = path.canonicalize();
            let files = targets.all.iter().filter_map(|target| match &target.input {
                Input::File(path) => path.canonicalize().ok(),
                Input::Stdin(_) => None,
            });
            real.is_ok_and(|real| inputs.get_or_insert_with(|| files.collect()).contains(&real))
        };
        let mut made: HashMap<&Path, String> = HashMap::new();
        for target in &targets.all {
            let Output::File(output) = &target.output else { continue };
            if output.symlink_metadata().is_ok() && is_input(output) {
                return Err(refused(
                    output,
                    "is the input; choose another output, because inputs are never overwritten",
                ));
            }
            if let Some(other) = made.insert(output, target.input.name()) {
                let problem = format!(
                    "and {} would both become {}; rename one of them, or enlarge them into different folders",
                    out::shown(other),
                    out::shown(output)
                );
                return Err(Error::Usage(format!("{}: {problem}", target.input.name())));
            }
        }
        if let Some(compare) = self.compare {
            if targets.all.len() != 1 {
                return Err(Error::Usage("--compare shows one picture; give one, not a folder".into()));
            }
            let is_output = |target: &Target| target.output == Output::File(compare.to_owned());
            if is_input(compare) || targets.all.iter().any(is_output) {
                return Err(refused(compare, "is the input or the output; choose another file for the comparison"));
            }
            Picture::format_for(&compare.display().to_string())?;
            files::check_output(compare, self.existing)?;
        }
        if targets.is_folder {
            return self.check_folders(targets);
        }
        match targets.all.first().map(|target| &target.output) {
            // A name that ends in a slash asks for a folder, which is created later.
            Some(Output::File(path)) if path.starts_with(self.output) && self.makes_folder() => self.check_parent(),
            Some(Output::File(path)) => files::check_output(path, self.existing),
            _ => Ok(()),
        }
    }

    fn makes_folder(&self) -> bool {
        is_folder(self.output) && !self.output.is_dir()
    }

    /// Checks that the folder of the outputs exists or can be created in an existing parent.
    fn check_parent(&self) -> Result<()> {
        let parent = files::folder_of(self.output);
        if self.output.is_dir() || parent.is_dir() {
            return Ok(());
        }
        Err(refused(parent, "the folder does not exist; create it first"))
    }

    /// Checks that the output folders that exist can be written to.
    fn check_folders(&self, targets: &Targets) -> Result<()> {
        self.check_parent()?;
        let mut seen = BTreeSet::new();
        for target in &targets.all {
            if let Output::File(path) = &target.output
                && seen.insert(files::folder_of(path))
                && files::folder_of(path).is_dir()
                && !path.is_dir()
            {
                files::check_output(path, Existing::Replace)?;
            }
        }
        Ok(())
    }
}

impl Targets {
    /// Creates the output folders, and removes temporary files that killed processes left in them.
    ///
    /// # Errors
    /// A folder cannot be created.
    pub fn prepare_folders(&self) -> Result<()> {
        let paths = self.all.iter().filter_map(|target| match &target.output {
            Output::File(path) => Some(files::folder_of(path)),
            Output::Stdout => None,
        });
        for folder in paths.collect::<BTreeSet<_>>() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
            files::remove_stale(folder);
        }
        Ok(())
    }
}

/// Returns whether outputs go into `path`: it is a folder, or ends in a slash and is to become one.
fn is_folder(path: &Path) -> bool {
    let ends_in_slash = path.as_os_str().as_encoded_bytes().last().is_some_and(|&b| std::path::is_separator(b.into()));
    path.is_dir() || ends_in_slash
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::Usage(format!("{}: {problem}", path.display()))
}

fn standard_input() -> Result<Vec<u8>> {
    if std::io::stdin().is_terminal() {
        return Err(Error::Usage("standard input is a terminal; pipe a picture into it, or name a file".into()));
    }
    files::read_stdin(|file, problem| Error::Image { file, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(names: &[&str]) -> Vec<String> {
        let ending = "webp".parse().unwrap();
        let asked = Asked {
            inputs: &[],
            output: Path::new("out"),
            ending: Some(&ending),
            existing: Existing::Refuse,
            compare: None,
        };
        let mut pairs: Vec<_> = names.iter().map(|name| (PathBuf::from(name), Path::new("out").join(name))).collect();
        asked.rename(&mut pairs);
        pairs.into_iter().map(|(_, path)| path.strip_prefix("out").unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn names_under_one_format_differ_and_depend_on_no_order() {
        assert_eq!(renamed(&["a.png", "b.jpg", "sub/a.jpg"]), ["a.webp", "b.webp", "sub/a.webp"]);
        assert_eq!(renamed(&["a.jpg", "a.png", "b.png"]), ["a.jpg.webp", "a.png.webp", "b.webp"]);
        assert_eq!(renamed(&["b.png", "a.png", "a.jpg"]), ["b.webp", "a.png.webp", "a.jpg.webp"]);
        // The long name of one is the short name of another.
        assert_eq!(renamed(&["a.jpg", "a.png", "a.png.png"]), ["a.jpg.webp", "a.png.webp", "a.png.png.webp"]);
    }
}
