//! Parses landmarks: one line per picture, with its name, then x and y of every landmark in pixels, separated by commas.

use crate::error::{Error, Result};
use crate::vision::models::cbn::shape::Point;
use crate::vision::tasks::hallucinate::frame::LANDMARKS;

/// A picture's name and its landmarks in pixels; (0, 0) is the picture's top left corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    pub name: String,
    pub points: Vec<Point>,
}

/// Parses all faces of a text whose first line may name the columns (`file,x1,y1,…,x68,y68`); `file` is for messages.
///
/// # Errors
/// A line has another number of columns or a malformed number; the error names the line. There is no face.
pub fn parse(text: &str, file: &str) -> Result<Vec<Face>> {
    let columns = 1 + 2 * LANDMARKS;
    let fail = |line: usize, problem: String| Error::import(file, format!("line {}: {problem}", line + 1));
    let mut faces = Vec::new();
    for (line, content) in text.lines().enumerate() {
        let cells: Vec<&str> = content.split(',').map(str::trim).collect();
        if content.trim().is_empty() {
            continue;
        }
        if cells.len() != columns {
            let problem = format!(
                "expected a name and x, y of {LANDMARKS} landmarks ({columns} columns), got {} columns; \
                 write one line per picture: name,x1,y1,…,x68,y68",
                cells.len()
            );
            return Err(fail(line, problem));
        }
        if line == 0 && cells[1].parse::<f64>().is_err() {
            continue;
        }
        let number = |k: usize| match cells[k].parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(fail(line, format!("column {}: {:?} is not a coordinate in pixels", k + 1, cells[k]))),
        };
        let points =
            (0..LANDMARKS).map(|l| Ok([number(1 + 2 * l)?, number(2 + 2 * l)?])).collect::<Result<Vec<_>>>()?;
        faces.push(Face { name: cells[0].to_owned(), points });
    }
    if faces.is_empty() {
        return Err(Error::import(file, "holds no face; write one line per picture: name,x1,y1,…,x68,y68"));
    }
    Ok(faces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_faces_and_errors_name_theirs() {
        let numbers: Vec<String> = (0..136).map(|k| format!("{}.5", k)).collect();
        let good = format!(
            "file,{}\r\na.png,{}\n\nb.png, {}\n",
            vec!["x"; 136].join(","),
            numbers.join(","),
            numbers.join(", ")
        );
        let faces = parse(&good, "f.csv").unwrap();
        assert_eq!((faces.len(), faces[1].name.as_str(), faces[0].points[67]), (2, "b.png", [134.5, 135.5]));
        let short = parse("file\n", "f.csv").unwrap_err().to_string();
        assert!(short.starts_with("f.csv: line 1: expected") && short.contains("got 1 columns"), "{short}");
        let word = parse(&good.replace("77.5", "nan"), "f.csv").unwrap_err().to_string();
        assert!(word.starts_with("f.csv: line 2: column 79"), "{word}");
        assert!(parse("", "f.csv").is_err());
    }
}
