//! The files of the protocols: ground truth to read, detections to read and write.
//!
//! Readers take a file's name, for messages, and its text or bytes. A picture's name is as its protocol has it: `2002/08/11/big/img_591` in
//! FDDB, `0--Parade/0_Parade_marchingband_1_465` in WIDER FACE, `134212.jpg` in a table.

use super::fddb::{Ellipse, Region};
use super::mat::{self, Value};
use super::{voc, wider};
use crate::error::{Error, Result};
use crate::vision::boxes::{Bounds, Detection};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The lines of a file with their numbers.
struct Lines<'a> {
    file: &'a str,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    /// The number of the last line that was read, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        // Some editors begin a file with this mark.
        Self { file, lines: text.trim_start_matches('\u{feff}').lines().enumerate(), number: 0 }
    }

    /// Returns the next line that is not empty.
    fn next(&mut self) -> Option<&'a str> {
        for (k, line) in self.lines.by_ref() {
            self.number = k + 1;
            if !line.trim().is_empty() {
                return Some(line.trim());
            }
        }
        None
    }

    /// Returns the next line, which must be there.
    fn need(&mut self, expected: &str) -> Result<&'a str> {
        self.next().ok_or_else(|| {
            let problem = format!("ends after line {}, expected {expected}; copy the file again", self.number);
            Error::import(self.file, problem)
        })
    }

    fn wrong(&self, expected: &str, got: &str) -> Error {
        // The start is enough to find it.
        let got: String = got.chars().take(80).collect();
        Error::import(self.file, format!("line {}: expected {expected}, got {got:?}", self.number))
    }

    /// Reads the count of the lines that follow.
    fn count(&mut self, what: &str) -> Result<usize> {
        let expected = format!("the number of {what}");
        let line = self.need(&expected)?;
        line.parse().map_err(|_| self.wrong(&expected, line))
    }

    /// Reads a line of finite numbers.
    fn numbers(&mut self, expected: &str, counts: std::ops::RangeInclusive<usize>) -> Result<Vec<f64>> {
        let line = self.need(expected)?;
        numbers(line).filter(|all| counts.contains(&all.len())).ok_or_else(|| self.wrong(expected, line))
    }
}

fn numbers(line: &str) -> Option<Vec<f64>> {
    line.split_ascii_whitespace().map(|v| v.parse().ok().filter(|v: &f64| v.is_finite())).collect()
}

/// Reads FDDB's ellipses (`FDDB-fold-01-ellipseList.txt`): a picture's name, how many faces it has, and for each
/// `major minor angle x y 1`.
///
/// # Errors
/// A line is not what its place demands.
pub fn fddb_ellipses(file: &str, text: &str) -> Result<Vec<(String, Vec<Ellipse>)>> {
    let (mut lines, mut all) = (Lines::new(file, text), Vec::new());
    while let Some(name) = lines.next() {
        let count = lines.count("faces")?;
        let mut faces = Vec::new();
        for _ in 0..count {
            let n = lines.numbers("a face: major radius, minor radius, angle, x, y and 1", 5..=6)?;
            faces.push(Ellipse { major: n[0], minor: n[1], angle: n[2], centre: [n[3], n[4]] });
        }
        all.push((name.to_owned(), faces));
    }
    Ok(all)
}

/// Detections of FDDB by picture: regions with scores.
pub type FddbDetections = Vec<(String, Vec<(Region, f64)>)>;

/// Reads detections in FDDB's format, of one fold or several: a picture's name, how many detections it has, and for each
/// `x y width height score`, or `major minor angle x y score` for an ellipse.
///
/// # Errors
/// A line is not what its place demands.
pub fn fddb_detections(file: &str, text: &str) -> Result<FddbDetections> {
    let (mut lines, mut all) = (Lines::new(file, text), Vec::new());
    while let Some(name) = lines.next() {
        let count = lines.count("detections")?;
        let mut found = Vec::new();
        for _ in 0..count {
            let expected = "a rectangle, x, y, width, height and score, or an ellipse, major and minor radius, angle, x, y and score";
            let n = lines.numbers(expected, 5..=6)?;
            found.push(match n[..] {
                [x, y, width, height, score] => (Region::Rectangle(Bounds { x, y, width, height }), score),
                _ => (Region::Ellipse(Ellipse { major: n[0], minor: n[1], angle: n[2], centre: [n[3], n[4]] }), n[5]),
            });
        }
        all.push((name.to_owned(), found));
    }
    Ok(all)
}

/// Writes what [`fddb_detections`] reads.
pub fn write_fddb<'a>(pictures: impl IntoIterator<Item = (&'a str, &'a [(Region, f64)])>) -> String {
    let mut text = String::new();
    for (name, found) in pictures {
        let _ = writeln!(text, "{name}\n{}", found.len());
        for (region, score) in found {
            let _ = match region {
                Region::Rectangle(Bounds { x, y, width, height }) => writeln!(text, "{x} {y} {width} {height} {score}"),
                Region::Ellipse(Ellipse { major, minor, angle, centre: [x, y] }) => {
                    writeln!(text, "{major} {minor} {angle} {x} {y} {score}")
                }
            };
        }
    }
    text
}

/// Reads the detections of a picture in WIDER FACE's format: the picture's name, how many there are, and for each
/// `x y width height score`. The first line is returned without its extension and folders.
///
/// # Errors
/// A line is not what its place demands; there are more lines.
pub fn wider_detections(file: &str, text: &str) -> Result<(String, Vec<Detection>)> {
    let mut lines = Lines::new(file, text);
    let name = lines.need("the picture's name")?;
    let count = lines.count("detections")?;
    let mut found = Vec::new();
    for _ in 0..count {
        let n = lines.numbers("x, y, width, height and score", 5..=5)?;
        found.push(Detection { bounds: Bounds::new(n[0], n[1], n[2], n[3]), score: n[4], points: vec![] });
    }
    match lines.next() {
        Some(line) => Err(lines.wrong(&format!("the end after {count} detections"), line)),
        None => Ok((stem(name).to_owned(), found)),
    }
}

/// Returns a name without its folders and extension.
fn stem(name: &str) -> &str {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    last.rsplit_once('.').map_or(last, |(stem, _)| stem)
}

/// Writes what [`wider_detections`] reads, the highest score first, as the evaluation in MATLAB demands.
pub fn write_wider(name: &str, found: &[Detection]) -> String {
    let mut sorted: Vec<&Detection> = found.iter().collect();
    sorted.sort_by(|a, b| super::descending(a.score, b.score));
    let mut text = format!("{name}\n{}\n", found.len());
    for Detection { bounds: b, score, .. } in sorted {
        let _ = writeln!(text, "{} {} {} {} {score}", b.x, b.y, b.width, b.height);
    }
    text
}

/// A picture of WIDER FACE with its faces.
#[derive(Debug, Clone, PartialEq)]
pub struct WiderPicture {
    /// Its folder, such as `0--Parade`.
    pub event: String,
    /// Its name without extension.
    pub name: String,
    /// Its faces, without detections.
    pub picture: wider::Picture,
}

/// The files of WIDER FACE's ground truth, in the order of [`wider_truth`].
pub const WIDER_FILES: [&str; 4] =
    ["wider_face_val.mat", "wider_easy_val.mat", "wider_medium_val.mat", "wider_hard_val.mat"];

/// Reads WIDER FACE's ground truth: the bytes of its [`WIDER_FILES`].
///
/// # Errors
/// A file is no MATLAB file of version 5, or lacks what the evaluation needs; the files do not fit together.
pub fn wider_truth(files: [&[u8]; 4]) -> Result<Vec<WiderPicture>> {
    let fail = |k: usize, problem: &str| Error::import(WIDER_FILES[k], format!("{problem}; copy the file again"));
    let mut read = Vec::new();
    for (name, bytes) in WIDER_FILES.iter().zip(files) {
        read.push(mat::read(name, bytes)?);
    }
    let variable = |k: usize, name: &str| -> Result<&[Value]> {
        let found = read[k].iter().find(|(known, _)| known == name).and_then(|(_, value)| value.cells());
        found.ok_or_else(|| fail(k, &format!("has no cells {name:?}")))
    };
    let (events, names, boxes) = (variable(0, "event_list")?, variable(0, "file_list")?, variable(0, "face_bbx_list")?);
    let lists = [variable(1, "gt_list")?, variable(2, "gt_list")?, variable(3, "gt_list")?];
    let mut all = Vec::new();
    for (i, event) in events.iter().enumerate() {
        let of = |k: usize, list: &[Value], what: &str, count: Option<usize>| -> Result<Vec<Value>> {
            let cells = list.get(i).and_then(Value::cells).filter(|cells| count.is_none_or(|n| cells.len() == n));
            cells
                .map(<[Value]>::to_vec)
                .ok_or_else(|| fail(k, &format!("event {}: expected a cell of {what} for each picture", i + 1)))
        };
        let event = event.text().ok_or_else(|| fail(0, &format!("event {}: expected its name", i + 1)))?;
        let names = of(0, names, "names", None)?;
        let boxes = of(0, boxes, "boxes", Some(names.len()))?;
        let mut kept = Vec::new();
        for (k, list) in lists.iter().enumerate() {
            kept.push(of(k + 1, list, "indices", Some(names.len()))?);
        }
        for (j, name) in names.iter().enumerate() {
            let place = format!("event {}, picture {}", i + 1, j + 1);
            // A name is a text, or a cell of one.
            let name = name.text().or_else(|| name.cells()?.first()?.text());
            let name = name.ok_or_else(|| fail(0, &format!("{place}: expected its name")))?;
            let rows = boxes[j].rows().filter(|rows| rows.iter().all(|row| row.len() == 4));
            let rows = rows.ok_or_else(|| fail(0, &format!("{place}: expected boxes of four numbers")))?;
            let faces: Vec<Bounds> = rows.iter().map(|r| Bounds::new(r[0], r[1], r[2], r[3])).collect();
            let mut flags: [Vec<bool>; 3] = std::array::from_fn(|_| vec![false; faces.len()]);
            for (k, flags) in flags.iter_mut().enumerate() {
                let indices =
                    kept[k][j].rows().ok_or_else(|| fail(k + 1, &format!("{place}: expected indices of faces")))?;
                for index in indices.into_iter().flatten() {
                    // From 1. A conversion of NaN gives 0.
                    let face = (index as usize).checked_sub(1).and_then(|face| flags.get_mut(face));
                    let problem =
                        || fail(k + 1, &format!("{place}: expected indices from 1 to {}, got {index}", faces.len()));
                    *face.ok_or_else(problem)? = true;
                }
            }
            let picture = wider::Picture { faces, kept: flags, found: vec![] };
            all.push(WiderPicture { event: event.to_owned(), name: stem_of_name(name).to_owned(), picture });
        }
    }
    Ok(all)
}

/// Returns a picture's name without `.jpg`; the lists have none.
fn stem_of_name(name: &str) -> &str {
    name.strip_suffix(".jpg").unwrap_or(name)
}

/// A picture's height and width, and its faces.
pub type SizedFaces = ([usize; 2], Vec<Ellipse>);

/// A table of comma-separated values with a header.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    file: &'a str,
    header: Vec<&'a str>,
    /// The rows that were asked for, with their line numbers.
    rows: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> Table<'a> {
    /// Reads a table, of whose rows only those are kept that have the given values in the given columns.
    ///
    /// # Errors
    /// There is no header; a row is not as long as it; there is no such column.
    pub fn read(file: &'a str, text: &'a str, only: &[(String, String)]) -> Result<Self> {
        let mut lines = Lines::new(file, text);
        let split = |line: &'a str| line.split(',').map(str::trim).collect::<Vec<_>>();
        let header = split(lines.need("a header such as file,x,y,width,height")?);
        let mut wanted = Vec::new();
        for (name, value) in only {
            let column = header.iter().position(|known| known == name).ok_or_else(|| {
                Error::import(file, format!("has no column {name:?}; its columns are {}", header.join(", ")))
            })?;
            wanted.push((column, value.as_str()));
        }
        let mut rows = Vec::new();
        while let Some(line) = lines.next() {
            let row = split(line);
            if row.len() != header.len() {
                return Err(lines.wrong(&format!("{} values", header.len()), line));
            }
            if wanted.iter().all(|(column, value)| row[*column] == *value) {
                rows.push((lines.number, row));
            }
        }
        Ok(Self { file, header, rows })
    }

    /// Returns the first column that has one of these names.
    fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|known| known == name))
    }

    fn need(&self, names: &[&str]) -> Result<usize> {
        self.column(names).ok_or_else(|| {
            let (wanted, got) = (names.join(" or "), self.header.join(", "));
            Error::import(self.file, format!("line 1: expected a column {wanted}, got {got}"))
        })
    }

    fn number(&self, (line, row): &(usize, Vec<&str>), column: usize) -> Result<f64> {
        row[column].parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| {
            let (name, got) = (self.header[column], row[column]);
            Error::import(self.file, format!("line {line}: expected a number for {name}, got {got:?}"))
        })
    }

    /// Returns a box for each row: from x1, y1, x2, y2, or x, y, width, height. Of a row without these numbers, which only says that there is
    /// a picture, `None`.
    fn bounds(&self) -> Result<Vec<Option<Bounds>>> {
        let are_sides = self.column(&["x1"]).is_some();
        let names: [&[&str]; 4] = match are_sides {
            true => [&["x1"], &["y1"], &["x2"], &["y2"]],
            // A table of pictures has their width too, so the short names come first.
            false => [&["x"], &["y"], &["w", "width"], &["h", "height"]],
        };
        let mut columns = [0; 4];
        for (column, names) in columns.iter_mut().zip(names) {
            *column = self.need(names)?;
        }
        let mut all = Vec::new();
        for row in &self.rows {
            if columns.iter().all(|column| row.1[*column].is_empty()) {
                all.push(None);
                continue;
            }
            let mut n = [0.0; 4];
            for (value, column) in n.iter_mut().zip(columns) {
                *value = self.number(row, column)?;
            }
            all.push(Some(if are_sides { Bounds::of_sides(n) } else { Bounds::new(n[0], n[1], n[2], n[3]) }));
        }
        Ok(all)
    }

    /// Returns the column of the picture's name.
    fn picture(&self) -> Result<usize> {
        self.need(&["file", "image", "picture"])
    }

    /// Returns the faces of each picture. The columns are the picture (`file`, `image` or `picture`), its box (x1, y1, x2, y2 or x, y, w, h,
    /// or width and height written out) and, if there is one whose name ends in `ignore`, whether to ignore it: 0 or 1. A row
    /// whose box is empty stands for a picture without faces.
    ///
    /// # Errors
    /// A column is missing; a value is not a number.
    pub fn faces(&self) -> Result<BTreeMap<String, Vec<voc::Face>>> {
        let picture = self.picture()?;
        let ignore = self.header.iter().position(|name| name.ends_with("ignore"));
        let mut all: BTreeMap<String, Vec<voc::Face>> = BTreeMap::new();
        for (row, bounds) in self.rows.iter().zip(self.bounds()?) {
            let faces = all.entry(row.1[picture].to_owned()).or_default();
            let Some(bounds) = bounds else { continue };
            let is_ignored = ignore.map_or(Ok(0.0), |column| self.number(row, column))? != 0.0;
            faces.push(voc::Face { bounds, is_ignored });
        }
        Ok(all)
    }

    /// Returns the detections of each picture; the columns are those of [`Table::faces`], and `score`.
    ///
    /// # Errors
    /// A column is missing; a value is not a number.
    pub fn detections(&self) -> Result<BTreeMap<String, Vec<Detection>>> {
        let (picture, score) = (self.picture()?, self.need(&["score"])?);
        let mut all: BTreeMap<String, Vec<Detection>> = BTreeMap::new();
        for (row, bounds) in self.rows.iter().zip(self.bounds()?) {
            let found = all.entry(row.1[picture].to_owned()).or_default();
            let Some(bounds) = bounds else { continue };
            let detection = Detection { bounds, score: self.number(row, score)?, points: vec![] };
            found.push(detection);
        }
        Ok(all)
    }

    /// Returns the faces of each picture of FDDB, and its size, height and width. The columns are the picture, its `width` and `height`, and
    /// `major`, `minor`, `angle`, `cx` and `cy`.
    ///
    /// # Errors
    /// A column is missing; a value is not a number; a picture has two sizes, or none of at least a pixel.
    pub fn ellipses(&self) -> Result<BTreeMap<String, SizedFaces>> {
        let picture = self.picture()?;
        let mut columns = [0; 7];
        for (column, name) in columns.iter_mut().zip(["height", "width", "major", "minor", "angle", "cx", "cy"]) {
            *column = self.need(&[name])?;
        }
        let mut all: BTreeMap<String, SizedFaces> = BTreeMap::new();
        for row in &self.rows {
            let mut n = [0.0; 7];
            for (value, column) in n.iter_mut().zip(columns) {
                *value = self.number(row, column)?;
            }
            let (name, size) = (row.1[picture], [n[0] as usize, n[1] as usize]);
            let entry = all.entry(name.to_owned()).or_insert_with(|| (size, vec![]));
            if entry.0 != size || !size.iter().all(|side| (1..=1 << 16).contains(side)) {
                let problem = format!("line {}: expected one size of {name}, 1 to 65536 pixels, got {size:?}", row.0);
                return Err(Error::import(self.file, problem));
            }
            entry.1.push(Ellipse { major: n[2], minor: n[3], angle: n[4], centre: [n[5], n[6]] });
        }
        Ok(all)
    }
}

/// Writes what [`Table::detections`] reads.
pub fn write_table<'a>(pictures: impl IntoIterator<Item = (&'a str, &'a [Detection])>) -> String {
    let mut text = "file,x,y,width,height,score\n".to_owned();
    for (name, found) in pictures {
        if found.is_empty() {
            let _ = writeln!(text, "{name},,,,,");
        }
        for Detection { bounds: b, score, .. } in found {
            let _ = writeln!(text, "{name},{},{},{},{},{score}", b.x, b.y, b.width, b.height);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::mat::tests::{cells, file, matrix_of, text};
    use super::*;

    #[test]
    fn fddb_is_read_and_written() {
        let list = "2002/08/11/big/img_591\r\n1\r\n123.5833 85.5495 1.265839 269.6934 161.7812  1\r\nb\n0\n";
        let all = fddb_ellipses("list.txt", list).unwrap();
        assert_eq!((all[0].0.as_str(), all[1].0.as_str(), all[1].1.len()), ("2002/08/11/big/img_591", "b", 0));
        let ellipse = Ellipse { major: 123.5833, minor: 85.5495, angle: 1.265839, centre: [269.6934, 161.7812] };
        assert_eq!(all[0].1, [ellipse]);
        let found =
            vec![(Region::Rectangle(Bounds::new(1.5, -2.0, 3.0, 1e-9)), 0.1), (Region::Ellipse(ellipse), -0.25)];
        let written = write_fddb([("a/b", &found[..]), ("c", &[])]);
        assert_eq!(fddb_detections("x", &written).unwrap(), [("a/b".to_owned(), found), ("c".to_owned(), vec![])]);
    }

    #[test]
    fn broken_lists_are_refused_with_their_line() {
        let ellipses = |text: &str| fddb_ellipses("a.txt", text).unwrap_err().to_string();
        assert_eq!(ellipses("img"), "a.txt: ends after line 1, expected the number of faces; copy the file again");
        assert!(ellipses("img\nx").starts_with("a.txt: line 2: expected the number of faces, got \"x\""));
        assert!(ellipses("img\n-1").contains("line 2"));
        assert!(ellipses("img\n2\n1 2 3 4 5 1\n1 2 3 4").contains("line 4: expected a face"));
        assert!(ellipses("img\n1\n1 2 3 4 NaN 1").contains("line 3"));
        // A count is believed only as far as there are lines.
        assert!(ellipses("img\n18446744073709551615\n1 2 3 4 5 1").contains("ends after line 3"));
        assert!(fddb_detections("d", "img\n1\n1 2 3 4").unwrap_err().to_string().contains("an ellipse"));
        assert!(
            wider_detections("w", "a.jpg\n1\n1 2 3 4 0.5\n1 2 3 4 0.5").unwrap_err().to_string().contains("the end")
        );
        assert!(wider_detections("w", "").is_err() && wider_detections("w", "a\n1\n1 2 3 4").is_err());
    }

    #[test]
    fn wider_is_read_and_written() {
        let found = |score| Detection { bounds: Bounds::new(1.0, 2.5, 3.0, 4.0), score, points: vec![] };
        let written = write_wider("0--Parade/a.jpg", &[found(0.25), found(0.75)]);
        assert_eq!(written, "0--Parade/a.jpg\n2\n1 2.5 3 4 0.75\n1 2.5 3 4 0.25\n");
        assert_eq!(wider_detections("a", &written).unwrap(), ("a".to_owned(), vec![found(0.75), found(0.25)]));

        let names = cells("file_list", &[cells("", &[cells("", &[text("", "a.b")]), text("", "c")])]);
        let boxes: &[&[f64]] = &[&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]];
        let all = cells("face_bbx_list", &[cells("", &[matrix_of("", boxes), matrix_of("", &[])])]);
        let truth = file(&[cells("event_list", &[text("", "0--Parade")]), names, all]);
        let list =
            |kept: &[&[f64]]| file(&[cells("gt_list", &[cells("", &[matrix_of("", kept), matrix_of("", &[])])])]);
        let [easy, hard] = [list(&[&[2.0]]), list(&[&[1.0], &[2.0]])];
        let read = wider_truth([&truth, &easy, &easy, &hard]).unwrap();
        assert_eq!((read.len(), read[0].event.as_str(), read[0].name.as_str()), (2, "0--Parade", "a.b"));
        assert_eq!(read[0].picture.faces, [Bounds::new(1.0, 2.0, 3.0, 4.0), Bounds::new(5.0, 6.0, 7.0, 8.0)]);
        assert_eq!(read[0].picture.kept, [vec![false, true], vec![false, true], vec![true, true]]);
        assert_eq!((read[1].name.as_str(), read[1].picture.faces.len()), ("c", 0));
        for wrong in [list(&[&[3.0]]), list(&[&[0.0]]), list(&[&[f64::NAN]]), file(&[]), truth.clone()] {
            let problem = wider_truth([&truth, &easy, &wrong, &hard]).unwrap_err().to_string();
            assert!(problem.starts_with("wider_medium_val.mat: "), "{problem}");
        }
    }

    #[test]
    fn tables_are_read_by_their_header() {
        let table = "half,image,width,height,x,y,w,h,bad_ignore\ndev,a.jpg,90,80,1,2,3,4,0\naside,b.jpg,90,80,1,2,3,4,0\ndev,a.jpg,90,80,5,6,7,8,1\n";
        let only = [("half".to_owned(), "dev".to_owned())];
        let faces = Table::read("t.csv", table, &only).unwrap().faces().unwrap();
        assert_eq!(faces.keys().collect::<Vec<_>>(), ["a.jpg"]);
        let face = |x, y, w, h, is_ignored| voc::Face { bounds: Bounds::new(x, y, w, h), is_ignored };
        assert_eq!(faces["a.jpg"], [face(1.0, 2.0, 3.0, 4.0, false), face(5.0, 6.0, 7.0, 8.0, true)]);
        assert_eq!(Table::read("t.csv", table, &[]).unwrap().faces().unwrap().len(), 2);
        // A picture without faces.
        let without = Table::read("t.csv", "file,x,y,w,h\na,,,,\nb,1,2,3,4", &[]).unwrap().faces().unwrap();
        assert_eq!((without["a"].len(), without["b"].len()), (0, 1));
        let sides = Table::read("t.csv", "file,x1,y1,x2,y2\na,1,2,4,6", &[]).unwrap().faces().unwrap();
        assert_eq!(sides["a"], [face(1.0, 2.0, 3.0, 4.0, false)]);

        let found = vec![Detection { bounds: Bounds::new(0.1, 2.0, 3.0, 4.0), score: 0.3, points: vec![] }];
        let written = write_table([("a.jpg", &found[..]), ("none.jpg", &[])]);
        let read = Table::read("t.csv", &written, &[]).unwrap().detections().unwrap();
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("a.jpg".to_owned(), found), ("none.jpg".to_owned(), vec![])]
        );

        let ellipses =
            "image,width,height,major,minor,angle,cx,cy\na,450,431,123.5,85.5,1.2,269,161\na,450,431,1,2,3,4,5\n";
        let read = Table::read("t.csv", ellipses, &[]).unwrap().ellipses().unwrap();
        assert_eq!((read["a"].0, read["a"].1.len(), read["a"].1[0].minor), ([431, 450], 2, 85.5));
    }

    #[test]
    fn broken_tables_are_refused_with_their_line() {
        let faces = |text: &str| match Table::read("t.csv", text, &[]) {
            Ok(table) => table.faces().unwrap_err().to_string(),
            Err(e) => e.to_string(),
        };
        assert!(faces("").starts_with("t.csv: ends after line 0, expected a header"));
        assert!(faces("file,x,y,w\na,1,2,3").starts_with("t.csv: line 1: expected a column h or height"));
        assert!(faces("file,x,y,w,h\na,1,2,3").starts_with("t.csv: line 2: expected 5 values"));
        assert!(
            faces("file,x,y,w,h\n\na,1,2,3,inf").starts_with("t.csv: line 3: expected a number for h, got \"inf\"")
        );
        let only = [("fold".to_owned(), "1".to_owned())];
        assert!(Table::read("t.csv", "file,x,y,w,h\n", &only).unwrap_err().to_string().contains("no column \"fold\""));
        let sized = |row: &str| {
            let text = format!("image,width,height,major,minor,angle,cx,cy\na,450,431,1,2,3,4,5\n{row}");
            Table::read("t.csv", &text, &[]).unwrap().ellipses().unwrap_err().to_string()
        };
        assert!(sized("a,450,430,1,2,3,4,5").contains("line 3: expected one size of a"));
        assert!(sized("b,0,430,1,2,3,4,5").contains("line 3") && sized("b,1e9,430,1,2,3,4,5").contains("line 3"));
    }
}
