//! Faces with binary attributes: CelebA as it is distributed, or a smaller set of the same faces.

use crate::error::{Error, Result};
use crate::files;
use crate::rng::Rng;
use crate::vision::image::Picture;
use crate::vision::models::deepid2::SIZE;
use crate::vision::tasks::attributes::{Frame, PIXELS, scaled};
use crate::vision::training::faces::FUNNELED;
use crate::vision::training::packed::{self, text};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Faces as they are set aside for training, for choices, and for one last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Train,
    Validation,
    Test,
}

/// Faces with attributes, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Faces {
    /// Names of the attributes.
    pub attributes: Vec<String>,
    /// Three planes each, in grey levels.
    pictures: Vec<u8>,
    /// One flag for each face and attribute.
    labels: Vec<bool>,
    ends: [usize; 3],
    /// SHA-256 of all pictures and labels, in order.
    pub fingerprint: String,
}

/// The form in which a face is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    pub is_mirrored: bool,
    /// Rows and columns by which the face is shifted; its border is repeated.
    pub shift: [f32; 2],
    /// Angle by which it is turned, in radians, and factor by which it is enlarged.
    pub angle: f32,
    pub zoom: f32,
    /// Factor on the network's input and what is added to it.
    pub contrast: f32,
    pub brightness: f32,
}

impl Default for Look {
    /// The face as it is.
    fn default() -> Self {
        Self { is_mirrored: false, shift: [0.0; 2], angle: 0.0, zoom: 1.0, contrast: 1.0, brightness: 0.0 }
    }
}

/// Most pixels of a shift.
const SHIFT: i32 = 3;
/// Largest angle in radians, and relative change of size and contrast, and change of brightness, of [`Look::wide`].
const ANGLE: f64 = 0.14;
const ZOOM: f64 = 0.1;
const CONTRAST: f64 = 0.2;
const BRIGHTNESS: f64 = 0.3;

impl Look {
    /// Draws a mirrored and shifted form.
    pub fn random(rng: &mut Rng) -> Self {
        let is_mirrored = rng.below(2) == 0;
        let shift = [0; 2].map(|_| (rng.below(2 * SHIFT as usize + 1) as i32 - SHIFT) as f32);
        Self { is_mirrored, shift, ..Self::default() }
    }

    /// Draws a form that is also turned, resized, and brighter or darker.
    pub fn wide(rng: &mut Rng) -> Self {
        let mut within = |most: f64| rng.uniform(-most, most) as f32;
        let [angle, zoom] = [within(ANGLE), 1.0 + within(ZOOM)];
        let [contrast, brightness] = [1.0 + within(CONTRAST), within(BRIGHTNESS)];
        Self { angle, zoom, contrast, brightness, ..Self::random(rng) }
    }
}

/// Where a set's pictures and labels lie, and how many of its faces belong to each part.
pub(in crate::vision::training) struct Source {
    pub attributes: Vec<String>,
    /// Names of the pictures, in order, with their labels.
    pub faces: Vec<(String, Vec<bool>)>,
    /// Where the parts end.
    pub ends: [usize; 3],
}

impl Faces {
    /// Reads faces from `folder`, which holds either
    ///
    /// - CelebA as it is distributed: `list_attr_celeba.txt`, `list_eval_partition.txt` and the folder `img_align_celeba`, of which the
    ///   first 100,000 faces of the training part, the first 10,000 of the validation part and the first 10,000 of the test part are
    ///   used, as in the talk; or
    /// - `celeba8k`, or what that folder contains: `attributes.csv` or `attributes.csv.gz`, whose header is `half,image` and the names of
    ///   attributes, and whose lines are `dev,000001.jpg,0,1,…`; and the pictures, in the folder or in `celeba8k.tar.gz`. Lines that begin
    ///   with another word are not read. Of n faces the last eighth is for the test, the eighth before it for validation.
    ///
    /// `read` is told how many of how many faces were read, and ends the reading by false.
    ///
    /// # Errors
    /// A file is missing or broken; the error names it. `read` returned false ([`Error::Interrupted`]).
    pub fn open(folder: &Path, read: &mut dyn FnMut(usize, usize) -> bool) -> Result<Self> {
        let list = folder.join("list_attr_celeba.txt");
        let (source, pictures, archive) = if list.is_file() {
            (whole(folder, &list)?, folder.join("img_align_celeba"), None)
        } else {
            let inner = folder.join("celeba8k");
            let inner = if inner.is_dir() { inner } else { folder.to_owned() };
            let archive = inner.join("celeba8k.tar.gz");
            (part(&inner)?, inner, archive.is_file().then_some(archive))
        };
        Self::decode(source, &pictures, archive.as_deref(), aligned, read)
    }

    /// Reads whole pictures of LFW, brought into the same pose ("deep funneled"), with LFWA's attributes from `folder`, which holds
    /// `attributes.csv` or `attributes.csv.gz`, as [`Faces::open`] describes it, whose pictures are `PERSON/FILE`, and these pictures, in
    /// folders or in `lfw128.tar.gz`. All of them are for training: the labels are scores of classifiers above a threshold, and do not
    /// judge.
    ///
    /// # Errors
    /// Those of [`Faces::open`].
    pub fn lfwa(folder: &Path, read: &mut dyn FnMut(usize, usize) -> bool) -> Result<Self> {
        let (list, attributes, faces) = table(folder)?;
        if attributes.is_empty() || faces.is_empty() {
            return Err(missing(&list, "names no attributes or no faces"));
        }
        let (archive, count) = (folder.join("lfw128.tar.gz"), faces.len());
        let source = Source { attributes, faces, ends: [count; 3] };
        Self::decode(source, folder, archive.is_file().then_some(&*archive), funneled, read)
    }

    /// Returns these faces and, after their training faces, all of `more` as further training faces. Attributes that only `more` has are
    /// left out.
    ///
    /// # Errors
    /// `more` lacks an attribute.
    pub fn with_more(&self, more: &Self) -> Result<Self> {
        let place = |name: &String| {
            let at = more.attributes.iter().position(|other| other == name);
            at.ok_or_else(|| Error::Usage(format!("the further faces have no attribute {name:?}")))
        };
        let places = self.attributes.iter().map(place).collect::<Result<Vec<_>>>()?;
        let (end, size, count) = (self.ends[0], self.attributes.len(), more.labels.len() / more.attributes.len());
        let (own, others) = (&self.labels, more.labels.chunks(more.attributes.len()));
        let added = others.flat_map(|labels| places.iter().map(|&at| labels[at]));
        Ok(Self {
            attributes: self.attributes.clone(),
            pictures: [&self.pictures[..end * PIXELS], &more.pictures, &self.pictures[end * PIXELS..]].concat(),
            labels: own[..end * size].iter().copied().chain(added).chain(own[end * size..].iter().copied()).collect(),
            ends: self.ends.map(|end| end + count),
            fingerprint: format!("{} and {}", self.fingerprint, more.fingerprint),
        })
    }

    /// Reads the pictures of LFW with the attribute `Male` from `folder`, which holds `lfw_gender.csv`, whose header begins with
    /// `file,male` and whose lines are `AJ_Cook/AJ_Cook_0001.jpg,0,…`, and `lfw112.tar`, in which those pictures are, 112 × 112 and
    /// aligned. Of eight people six are for training, one for validation and one for the test; nobody is in two parts.
    ///
    /// # Errors
    /// Those of [`Faces::open`].
    pub fn lfw(folder: &Path, read: &mut dyn FnMut(usize, usize) -> bool) -> Result<Self> {
        let (list, archive) = (folder.join("lfw_gender.csv"), folder.join("lfw112.tar"));
        let mut people: BTreeMap<String, Vec<(String, Vec<bool>)>> = BTreeMap::new();
        for line in text(&list)?.lines().skip(1) {
            let mut fields = line.split(',');
            let (name, male) =
                (fields.next().unwrap_or_default(), fields.next().and_then(|field| flag(field, ["1", "0"])));
            let (Some((person, _)), Some(male)) = (name.split_once('/'), male) else {
                return Err(missing(&list, format!("{line:?}: needs PERSON/FILE,1 or PERSON/FILE,0")));
            };
            people.entry(person.to_owned()).or_default().push((name.to_owned(), vec![male]));
        }
        let mut parts: [Vec<_>; 3] = Default::default();
        for (number, faces) in people.into_values().enumerate() {
            parts[[0, 0, 0, 1, 0, 0, 0, 2][number % 8]].extend(faces);
        }
        let mut end = 0;
        let ends = [0, 1, 2].map(|part: usize| {
            end += parts[part].len();
            end
        });
        let source = Source { attributes: vec!["Male".into()], faces: parts.into_iter().flatten().collect(), ends };
        Self::decode(checked(&list, source)?, folder, Some(&archive), aligned, read)
    }

    /// Returns these faces without some of the training faces, chosen by `seed` from the smaller class of `attribute`, so that its
    /// imbalance level |share − 50 %| is `level`, or as it is if that is higher.
    pub fn thinned(&self, attribute: usize, level: f64, seed: u64) -> Self {
        let train = self.part(Part::Train);
        let (with, without): (Vec<usize>, Vec<usize>) = train.clone().partition(|&face| self.has(face, attribute));
        let (mut small, large) = if with.len() < without.len() { (with, without) } else { (without, with) };
        let wanted = (large.len() as f64 * (50.0 - level) / (50.0 + level)).round() as usize;
        let mut rng = Rng::new(seed);
        while small.len() > wanted.max(1) {
            small.swap_remove(rng.below(small.len()));
        }
        let mut kept: Vec<usize> = [small, large].concat();
        kept.sort_unstable();
        let count = kept.len();
        kept.extend(train.end..self.ends[2]);
        let size = self.attributes.len();
        Self {
            attributes: self.attributes.clone(),
            pictures: kept.iter().flat_map(|&face| self.planes(face)).copied().collect(),
            labels: kept.iter().flat_map(|&face| &self.labels[face * size..][..size]).copied().collect(),
            ends: self.ends.map(|end| end - (train.len() - count)),
            fingerprint: format!("{} {attribute} at {level} by {seed}", self.fingerprint),
        }
    }

    fn decode(
        source: Source,
        pictures: &Path,
        archive: Option<&Path>,
        frame: fn(&Picture) -> Result<Frame>,
        read: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Self> {
        let mut packed = archive.map(|archive| unpacked(archive, &source)).transpose()?;
        let (mut all, mut labels) = (Vec::with_capacity(source.faces.len() * PIXELS), Vec::new());
        let mut hash = Sha256::new();
        for (number, (name, own)) in source.faces.iter().enumerate() {
            let path = pictures.join(name);
            let bytes = match &mut packed {
                Some(packed) => {
                    packed.remove(file_name(name)).ok_or_else(|| missing(&path, "is not in the archive"))?
                }
                None => files::read(&path, |file, problem| Error::Image { file, problem })?,
            };
            hash.update(Sha256::digest(&bytes));
            hash.update(own.iter().map(|is| u8::from(*is)).collect::<Vec<_>>());
            let picture = Picture::decode(&bytes, &path.display().to_string())?;
            all.extend(frame(&picture)?.planes(&picture)?);
            labels.extend_from_slice(own);
            if !read(number + 1, source.faces.len()) {
                return Err(Error::Interrupted);
            }
        }
        let fingerprint = files::hex(&hash.finalize());
        Ok(Self { attributes: source.attributes, pictures: all, labels, ends: source.ends, fingerprint })
    }

    /// Returns the numbers of the faces of a part.
    pub fn part(&self, part: Part) -> Range<usize> {
        match part {
            Part::Train => 0..self.ends[0],
            Part::Validation => self.ends[0]..self.ends[1],
            Part::Test => self.ends[1]..self.ends[2],
        }
    }

    /// Returns whether `face` has `attribute`.
    pub fn has(&self, face: usize, attribute: usize) -> bool {
        self.labels[face * self.attributes.len() + attribute]
    }

    /// Returns the share of the training faces that have each attribute.
    pub fn rates(&self) -> Vec<f64> {
        let train = self.part(Part::Train);
        let count = train.len() as f64;
        (0..self.attributes.len()).map(|a| train.clone().filter(|&k| self.has(k, a)).count() as f64 / count).collect()
    }

    /// Returns a face's three planes in grey levels.
    pub fn planes(&self, face: usize) -> &[u8] {
        &self.pictures[face * PIXELS..][..PIXELS]
    }

    /// Appends a face's three planes, row by row, with grey levels 0 to 255 as −2 to 2.
    pub fn write(&self, face: usize, look: Look, out: &mut Vec<f32>) {
        let middle = SIZE.map(|side| (side - 1) as f32 / 2.0);
        let (sin, cos) = (look.angle.sin() / look.zoom, look.angle.cos() / look.zoom);
        // Where each pixel comes from: the offset in a plane of the pixel above and to the left, the steps to those below and to the
        // right, and how near it is to these.
        let mut sources = Vec::with_capacity(SIZE[0] * SIZE[1]);
        for (row, column) in (0..SIZE[0]).flat_map(|row| (0..SIZE[1]).map(move |column| (row, column))) {
            let column = if look.is_mirrored { SIZE[1] - 1 - column } else { column };
            let [y, x] = [row as f32 - middle[0], column as f32 - middle[1]];
            let at = [cos * y - sin * x + middle[0] + look.shift[0], sin * y + cos * x + middle[1] + look.shift[1]];
            let at = [0, 1].map(|axis| at[axis].clamp(0.0, (SIZE[axis] - 1) as f32));
            let [top, left] = at.map(|v| v as usize);
            let [down, right] = [usize::from(top + 1 < SIZE[0]) * SIZE[1], usize::from(left + 1 < SIZE[1])];
            sources.push((top * SIZE[1] + left, down, right, at.map(f32::fract)));
        }
        for plane in self.planes(face).chunks(SIZE[0] * SIZE[1]) {
            out.extend(sources.iter().map(|&(first, down, right, [y, x])| {
                let grey = |offset: usize| f32::from(plane[first + offset]);
                let between = |a: f32, b: f32, part: f32| a + part * (b - a);
                let above = between(grey(0), grey(right), x);
                let below = between(grey(down), grey(down + right), x);
                look.contrast * scaled(between(above, below, y)) + look.brightness
            }));
        }
    }
}

/// Returns the frame of a picture that is aligned as CelebA's are.
fn aligned(picture: &Picture) -> Result<Frame> {
    Ok(Frame::centred(picture))
}

/// Returns the frame of a deep-funneled picture.
fn funneled(picture: &Picture) -> Result<Frame> {
    let sides = [picture.width() as f64, picture.height() as f64];
    Frame::of_box(picture, std::array::from_fn(|k| FUNNELED[k] * sides[k % 2]))
}

/// Returns a path's last part.
pub(in crate::vision::training) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn missing(file: &Path, problem: impl Into<String>) -> Error {
    Error::Import { file: file.display().to_string(), problem: problem.into() }
}

/// Returns a flag for a number that must be one of these.
fn flag(field: &str, [yes, no]: [&str; 2]) -> Option<bool> {
    if field == yes { Some(true) } else { (field == no).then_some(false) }
}

/// Most faces of each part of CelebA: the talk's 100,000 and 10,000, and as many for validation.
const WHOLE: [usize; 3] = [100_000, 10_000, 10_000];

/// Reads CelebA's lists: a line of counts, one of names, then a line per picture with 1 and −1; and parts by number.
fn whole(folder: &Path, list: &Path) -> Result<Source> {
    let table = text(list)?;
    let mut lines = table.lines().skip(1);
    let attributes: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let partition = folder.join("list_eval_partition.txt");
    let parts = text(&partition)?;
    let parts: BTreeMap<&str, &str> = parts.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut found: [Vec<(String, Vec<bool>)>; 3] = Default::default();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let mut fields = line.split_whitespace();
        let name = fields.next().unwrap_or_default();
        let labels: Option<Vec<bool>> = fields.map(|field| flag(field, ["1", "-1"])).collect();
        let Some(labels) = labels.filter(|labels| labels.len() == attributes.len()) else {
            let problem = format!("{name}: needs {} numbers 1 or -1 after its name", attributes.len());
            return Err(missing(list, problem));
        };
        let part = parts.get(name).and_then(|part| ["0", "1", "2"].iter().position(|p| *p == part.trim()));
        let Some(part) = part else {
            return Err(missing(&partition, format!("does not give the part of {name}, 0, 1 or 2")));
        };
        if found[part].len() < WHOLE[part] {
            found[part].push((name.to_owned(), labels));
        }
    }
    let mut end = 0;
    let ends = [0, 1, 2].map(|part: usize| {
        end += found[part].len();
        end
    });
    checked(list, Source { attributes, faces: found.into_iter().flatten().collect(), ends })
}

/// Reads a set whose parts follow from the order of its faces.
pub(in crate::vision::training) fn part(folder: &Path) -> Result<Source> {
    let (list, attributes, faces) = table(folder)?;
    let count = faces.len();
    checked(&list, Source { attributes, faces, ends: [count - 2 * (count / 8), count - count / 8, count] })
}

/// A table's file, its attributes, and pictures with their labels.
type Table = (PathBuf, Vec<String>, Vec<(String, Vec<bool>)>);

/// Reads `attributes.csv` or `attributes.csv.gz`.
fn table(folder: &Path) -> Result<Table> {
    let (plain, zipped) = (folder.join("attributes.csv"), folder.join("attributes.csv.gz"));
    let Some(list) = [plain, zipped].into_iter().find(|list| list.is_file()) else {
        let wanted = "list_attr_celeba.txt (CelebA), celeba8k, or attributes.csv with the pictures beside it";
        return Err(Error::Usage(format!("{}: holds no faces; it needs {wanted}", folder.display())));
    };
    let table = text(&list)?;
    let mut lines = table.lines();
    let attributes: Vec<String> = lines.next().unwrap_or_default().split(',').skip(2).map(str::to_owned).collect();
    let mut faces = Vec::new();
    for line in lines.filter(|line| line.starts_with("dev,")) {
        let mut fields = line.split(',').skip(1);
        let name = fields.next().unwrap_or_default();
        let labels: Option<Vec<bool>> = fields.map(|field| flag(field, ["1", "0"])).collect();
        match labels.filter(|labels| labels.len() == attributes.len()) {
            Some(labels) => faces.push((name.to_owned(), labels)),
            None => {
                let problem = format!("{name}: needs {} numbers 0 or 1 after its name", attributes.len());
                return Err(missing(&list, problem));
            }
        }
    }
    Ok((list, attributes, faces))
}

/// Refuses a set without attributes, or with an empty part.
fn checked(list: &Path, source: Source) -> Result<Source> {
    let [train, validation, test] = source.ends;
    if source.attributes.is_empty() {
        return Err(missing(list, "names no attributes"));
    }
    if train == 0 || validation == train || test == validation {
        return Err(missing(list, "needs faces for training, validation and test, at least eight in all"));
    }
    Ok(source)
}

/// Reads those files of an archive that `source` names, by their names without folders.
fn unpacked(archive: &Path, source: &Source) -> Result<BTreeMap<String, Vec<u8>>> {
    let wanted: BTreeSet<&str> = source.faces.iter().map(|(name, _)| file_name(name)).collect();
    let mut found = BTreeMap::new();
    packed::archive(archive, &|path| wanted.contains(file_name(path)), &mut |path, bytes| {
        found.insert(file_name(path).to_owned(), bytes);
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::{Channels, Samples};
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    /// A picture of CelebA's proportions whose grey level is `grey` on the left and 255 on the right.
    fn picture(grey: u8) -> Vec<u8> {
        let samples = (0..109 * 89).flat_map(|k| [if k % 89 < 44 { grey } else { 255 }; 3]).collect();
        let picture = Picture::from_samples("face", 89, 109, Channels::Rgb, Samples::U8(samples)).unwrap();
        picture.encode(Picture::format_for("face.png").unwrap()).unwrap()
    }

    fn open(folder: &Path) -> Result<Faces> {
        Faces::open(folder, &mut |_, _| true)
    }

    /// Checks faces 0 to 7 whose grey level is ten times their number and that have the second attribute if the number is odd.
    fn check(faces: &Faces) {
        assert_eq!(faces.attributes, ["Bald", "Young"]);
        assert_eq!(faces.rates(), [0.0, 0.5]);
        for face in 0..8 {
            assert_eq!((faces.has(face, 0), faces.has(face, 1)), (face == 7, face % 2 == 1), "{face}");
            let mut plain = Vec::new();
            faces.write(face, Look::default(), &mut plain);
            assert_eq!(plain.len(), PIXELS);
            let grey = 4.0 * (10.0 * face as f32 / 255.0 - 0.5);
            assert!(
                (plain[0] - grey).abs() < 1e-2 && (plain[46] - 2.0).abs() < 1e-2,
                "{face}: {} {}",
                plain[0],
                plain[46]
            );
            let mut moved = Vec::new();
            faces.write(face, Look { is_mirrored: true, shift: [0.0, 3.0], ..Look::default() }, &mut moved);
            assert!((moved[46] - plain[3]).abs() < 1e-6 && (moved[0] - plain[46]).abs() < 1e-6);
            assert!((moved[20] - plain[29]).abs() < 1e-6, "three pixels to the left of the mirrored one");
        }
    }

    #[test]
    fn a_table_with_pictures_beside_it_or_packed_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = String::from("half,image,Bald,Young\n");
        for k in 0..8u8 {
            table += &format!("dev,{k}.png,{},{}\n", u8::from(k == 7), k % 2);
        }
        table += "aside,9.png,1,1\n";
        for k in 0..8u8 {
            std::fs::write(folder.path().join(format!("{k}.png")), picture(10 * k)).unwrap();
        }
        std::fs::write(folder.path().join("attributes.csv"), &table).unwrap();
        let beside = open(folder.path()).unwrap();
        check(&beside);
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| beside.part(part)), [0..6, 6..7, 7..8]);

        let other = tempfile::tempdir().unwrap();
        let inner = other.path().join("celeba8k");
        std::fs::create_dir(&inner).unwrap();
        let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(table.as_bytes()).unwrap();
        std::fs::write(inner.join("attributes.csv.gz"), packer.finish().unwrap()).unwrap();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for k in (0..8u8).rev() {
            let bytes = picture(10 * k);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("faces/{k}.png"), &bytes[..]).unwrap();
        }
        let archive = inner.join("celeba8k.tar.gz");
        std::fs::write(&archive, tar.into_inner().unwrap().finish().unwrap()).unwrap();
        assert_eq!(open(other.path()).unwrap(), beside, "the same faces and fingerprint");

        let mut read = 0;
        let stopped = Faces::open(folder.path(), &mut |number, _| {
            read = number;
            number < 3
        });
        assert!(matches!(stopped, Err(Error::Interrupted)) && read == 3);
        std::fs::write(&archive, b"no archive").unwrap();
        assert!(open(other.path()).unwrap_err().to_string().contains("celeba8k.tar.gz"));
        std::fs::remove_file(folder.path().join("3.png")).unwrap();
        assert!(open(folder.path()).unwrap_err().to_string().contains("3.png"));
        std::fs::write(folder.path().join("attributes.csv"), table.replace("dev,4.png,0,0", "dev,4.png,0")).unwrap();
        let problem = open(folder.path()).unwrap_err().to_string();
        assert!(problem.contains("4.png: needs 2 numbers 0 or 1"), "{problem}");
        std::fs::write(folder.path().join("attributes.csv"), "half,image,Bald\ndev,0.png,1\n").unwrap();
        assert!(open(folder.path()).unwrap_err().to_string().contains("at least eight"));
        let empty = tempfile::tempdir().unwrap();
        assert!(open(empty.path()).unwrap_err().to_string().contains("list_attr_celeba.txt"));
    }

    #[test]
    fn lfw_is_parted_by_people_and_thinned() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = String::from("file,male\n");
        let mut tar = tar::Builder::new(Vec::new());
        for (person, number) in (0..16).flat_map(|person| (0..2).map(move |number| (person, number))) {
            let name = format!("P{person:02}/P{person:02}_{number}.png");
            table += &format!("{name},{}\n", u8::from(person % 2 == 1 || person == 2));
            let bytes = picture(10 * person + number);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, &name, &bytes[..]).unwrap();
        }
        std::fs::write(folder.path().join("lfw_gender.csv"), &table).unwrap();
        std::fs::write(folder.path().join("lfw112.tar"), tar.into_inner().unwrap()).unwrap();
        let faces = Faces::lfw(folder.path(), &mut |_, _| true).unwrap();
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| faces.part(part)), [0..24, 24..28, 28..32]);
        // Grey levels tell who it is: people 3 and 11 are for validation, 7 and 15 for the test.
        let people = |faces: &Faces, part| {
            let mut people: Vec<u8> = faces.part(part).map(|face| faces.planes(face)[0] / 10).collect();
            people.dedup();
            people
        };
        assert_eq!(people(&faces, Part::Validation), [3, 11]);
        assert_eq!(people(&faces, Part::Test), [7, 15]);
        assert_eq!(people(&faces, Part::Train).len(), 12);
        // 10 of 24 have the attribute; with 14 others, 6 make a share of 30 %.
        assert!((faces.rates()[0] - 10.0 / 24.0).abs() < 1e-9);
        let thinned = faces.thinned(0, 20.0, 1);
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| thinned.part(part).len()), [20, 4, 4]);
        assert!((thinned.rates()[0] - 0.3).abs() < 1e-9);
        assert_eq!([Part::Validation, Part::Test].map(|part| people(&thinned, part)), [vec![3, 11], vec![7, 15]]);
        assert!(thinned.part(Part::Train).all(|face| thinned.has(face, 0) == {
            let person = thinned.planes(face)[0] / 10;
            person % 2 == 1 || person == 2
        }));
        assert_ne!(thinned.pictures, faces.thinned(0, 20.0, 2).pictures);
        assert_eq!(faces.thinned(0, 5.0, 1).pictures, faces.pictures);
        std::fs::write(folder.path().join("lfw_gender.csv"), table.replace("P03_1.png,1", "P03_1.png,2")).unwrap();
        let problem = Faces::lfw(folder.path(), &mut |_, _| true).unwrap_err().to_string();
        assert!(problem.contains("P03_1.png,2") && problem.contains("PERSON/FILE,1"), "{problem}");
    }

    #[test]
    fn faces_of_lfwa_train_and_never_judge() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = String::from("half,image,Young,Asian,Bald\n");
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for k in 0..4u8 {
            let name = format!("P{k}/P{k}_0001.png");
            table += &format!("dev,{name},{},1,{}\n", k % 2, u8::from(k == 3));
            // The frame of a face in the middle, as wide as 0.78 of the picture, is grey, and black around it.
            let inside = |at: usize| (14..=114).contains(&(at % 128));
            let samples = (0..128 * 128).flat_map(|at| [if inside(at) { 200 + 10 * k } else { 0 }; 3]).collect();
            let picture = Picture::from_samples("face", 128, 128, Channels::Rgb, Samples::U8(samples)).unwrap();
            let bytes = picture.encode(Picture::format_for("face.png").unwrap()).unwrap();
            let person = folder.path().join(format!("P{k}"));
            std::fs::create_dir(&person).unwrap();
            std::fs::write(person.join(format!("P{k}_0001.png")), &bytes).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, &name, &bytes[..]).unwrap();
        }
        std::fs::write(folder.path().join("attributes.csv"), &table).unwrap();
        let lfwa = |folder: &Path| Faces::lfwa(folder, &mut |_, _| true);
        let more = lfwa(folder.path()).unwrap();
        std::fs::write(folder.path().join("lfw128.tar.gz"), tar.into_inner().unwrap().finish().unwrap()).unwrap();
        (0..4).for_each(|k| std::fs::remove_dir_all(folder.path().join(format!("P{k}"))).unwrap());
        assert_eq!(lfwa(folder.path()).unwrap(), more, "in folders and packed");
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| more.part(part)), [0..4, 4..4, 4..4]);
        // Nothing of what lies around the frame, and no more than a pixel is cut off.
        let inner = |face: usize| {
            (5..40).flat_map(|row| (1..SIZE[1] - 1).map(move |column| row * SIZE[1] + column)).map(move |k| (face, k))
        };
        assert!((0..4).flat_map(inner).all(|(face, k)| more.planes(face)[k].abs_diff(200 + 10 * face as u8) <= 1));

        let own = tempfile::tempdir().unwrap();
        let rows: String = (0..8u8).map(|k| format!("dev,{k}.png,{},{}\n", u8::from(k == 7), k % 2)).collect();
        std::fs::write(own.path().join("attributes.csv"), format!("half,image,Bald,Young\n{rows}")).unwrap();
        (0..8).for_each(|k| std::fs::write(own.path().join(format!("{k}.png")), picture(10 * k)).unwrap());
        let own = open(own.path()).unwrap();
        let both = own.with_more(&more).unwrap();
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| both.part(part)), [0..10, 10..11, 11..12]);
        assert_eq!(both.attributes, ["Bald", "Young"]);
        for (face, from) in (0..6).map(|k| (k, k)).chain([(10, 6), (11, 7)]) {
            assert_eq!(both.planes(face), own.planes(from));
            assert!((0..2).all(|attribute| both.has(face, attribute) == own.has(from, attribute)), "{face}");
        }
        for face in 0..4 {
            assert_eq!(both.planes(6 + face), more.planes(face));
            assert_eq!((both.has(6 + face, 0), both.has(6 + face, 1)), (face == 3, face % 2 == 1), "{face}");
        }
        assert!(more.with_more(&own).unwrap_err().to_string().contains("\"Asian\""));
        std::fs::write(folder.path().join("attributes.csv"), "half,image,Young\n").unwrap();
        assert!(lfwa(folder.path()).unwrap_err().to_string().contains("no faces"));
    }

    #[test]
    fn a_turned_and_enlarged_face_keeps_its_middle() {
        let faces = {
            let folder = tempfile::tempdir().unwrap();
            let table: String = (0..8).map(|k| format!("dev,{k}.png,1\n")).collect();
            std::fs::write(folder.path().join("attributes.csv"), format!("half,image,Bald\n{table}")).unwrap();
            (0..8).for_each(|k| std::fs::write(folder.path().join(format!("{k}.png")), picture(0)).unwrap());
            open(folder.path()).unwrap()
        };
        let seen = |look: Look| {
            let mut out = Vec::new();
            faces.write(0, look, &mut out);
            out
        };
        let plain = seen(Look::default());
        assert!(plain.iter().zip(faces.planes(0)).all(|(v, grey)| *v == scaled((*grey).into())));
        // A quarter turn brings the right half, which is white, to the top or the bottom, the middle stays.
        let turned = seen(Look { angle: std::f32::consts::FRAC_PI_2, ..Look::default() });
        let at = |out: &[f32], row: usize, column: usize| out[row * SIZE[1] + column];
        assert!((at(&turned, 27, 23) - at(&plain, 27, 23)).abs() < 1e-3);
        assert!((at(&turned, 5, 5) - at(&turned, 5, 40)).abs() < 1e-3);
        assert!((at(&turned, 5, 5) - at(&turned, 50, 5)).abs() > 3.0);
        let lit = seen(Look { contrast: 0.5, brightness: 0.25, ..Look::default() });
        assert!(lit.iter().zip(&plain).all(|(a, b)| (a - (0.5 * b + 0.25)).abs() < 1e-6));
        // The edge of the white half lies at column 23.2; enlarged, what was between it and the middle is twice as far.
        let place = |out: &[f32]| (0..SIZE[1]).find(|&c| at(out, 27, c) > 0.0).unwrap();
        let [near, far] = [1.0, 2.0].map(|zoom| place(&seen(Look { shift: [0.0, -4.0], zoom, ..Look::default() })));
        assert!(far - 23 >= 2 * (near - 23) - 2 && far > near + 2, "{near} {far}");
        let mut rng = Rng::new(1);
        let looks: Vec<Look> = (0..200).map(|_| Look::wide(&mut rng)).collect();
        assert!(
            looks.iter().all(|l| l.angle.abs() <= 0.14 && (l.zoom - 1.0).abs() <= 0.1 && l.brightness.abs() <= 0.3)
        );
        assert!(looks.iter().any(|l| l.angle > 0.1) && looks.iter().any(|l| l.angle < -0.1));
    }

    #[test]
    fn celeba_is_read_as_it_is_distributed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("img_align_celeba")).unwrap();
        let (mut list, mut parts) = (String::from("8\nBald Young \n"), String::new());
        for k in 0..8u8 {
            let sign = |is: bool| if is { " 1" } else { "-1" };
            list += &format!("{k}.png {} {}\n", sign(k == 7), sign(k % 2 == 1));
            parts += &format!("{k}.png {}\n", k.saturating_sub(5));
            std::fs::write(folder.path().join(format!("img_align_celeba/{k}.png")), picture(10 * k)).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("list_attr_celeba.txt", &list);
        write("list_eval_partition.txt", &parts);
        let faces = open(folder.path()).unwrap();
        check(&faces);
        assert_eq!([Part::Train, Part::Validation, Part::Test].map(|part| faces.part(part)), [0..6, 6..7, 7..8]);
        write("list_eval_partition.txt", &parts.replace("2.png 0\n", ""));
        assert!(open(folder.path()).unwrap_err().to_string().contains("does not give the part of 2.png"));
        write("list_eval_partition.txt", &parts);
        write("list_attr_celeba.txt", &list.replace("3.png -1  1", "3.png -1 0"));
        assert!(open(folder.path()).unwrap_err().to_string().contains("3.png: needs 2 numbers 1 or -1"));
    }
}
