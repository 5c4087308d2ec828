//! Photographs for training detectors: faces whose boxes are known, and pictures without faces.

use crate::error::{Error, Result};
use crate::files;
use crate::vision::boxes::Bounds;
use crate::vision::image::{Picture, folder};
use crate::vision::patch::Photo;
use crate::vision::training::attributes::data::{file_name, part};
use crate::vision::training::faces::{CELEBA, FUNNELED, landmarks};
use crate::vision::training::packed;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A photograph of one face.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    pub photo: Photo,
    /// The face from forehead to chin and cheek to cheek, in pixels of the photo.
    pub bounds: Bounds,
    /// Which of [`Photos::attributes`] it has; empty if that is not known.
    pub labels: Vec<bool>,
}

/// What detectors learn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Photos {
    pub faces: Vec<Face>,
    /// Names of attributes.
    pub attributes: Vec<String>,
    /// Pictures without faces.
    pub backgrounds: Vec<Photo>,
    /// What was read, for a manifest.
    pub sources: Vec<String>,
    /// SHA-256 of all files and boxes, in order.
    pub fingerprint: String,
}

/// A face's box from its 68 landmarks: how far its left and upper side lie from those of the landmarks' box, and its width and height, as
/// parts of that box. Medians of YuNet's boxes in 290 of HELEN's training faces, with deviations of 3 to 9 %.
const OF_LANDMARKS: [f64; 4] = [0.0136, -0.279, 0.963, 1.279];

impl Photos {
    /// Reads those of these sets that `data` holds:
    ///
    /// - `lfw_whole/lfw128.tar.gz`, whole deep-funneled pictures of LFW, without those that `lfw_fddb_same_photo.csv` lists, a file that
    ///   must then exist: FDDB shows them too, and may judge what is trained here;
    /// - `celeba8k/celeba8k.tar.gz`, aligned pictures of CelebA; the first three quarters with labels, if there is `attributes.csv.gz`, as
    ///   [`attributes`](crate::vision::training::attributes::data::Faces::open) are learned from;
    /// - `helen68_trainset_128` with its landmarks in `helen68_trainset_128.csv`;
    /// - `negatives`, a folder of pictures without faces, or of an archive of them.
    ///
    /// `read` is told how many pictures were read, and ends the reading by false.
    ///
    /// # Errors
    /// There are no faces or no pictures without; a file is broken; the list of shared photographs is missing. `read` returned false
    /// ([`Error::Interrupted`]).
    pub fn open(data: &Path, read: &mut dyn FnMut(usize) -> bool) -> Result<Self> {
        let mut reader = Reader { photos: Self::new(), hash: Sha256::new(), read, count: 0 };
        let funneled = data.join("lfw_whole/lfw128.tar.gz");
        if funneled.is_file() {
            let list = data.join("lfw_fddb_same_photo.csv");
            let text = packed::text(&list)?;
            let shared: BTreeSet<&str> = text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
            if !text.starts_with("lfw_image,") || shared.is_empty() {
                return Err(Error::import(
                    list.display().to_string(),
                    "needs a header that begins with lfw_image, and a line for each picture",
                ));
            }
            reader.archive(&funneled, &mut |name, photo| {
                (!shared.contains(name)).then(|| Shows::Face(photo.whole().part(FUNNELED), Vec::new()))
            })?;
        }
        let celeba = data.join("celeba8k/celeba8k.tar.gz");
        if celeba.is_file() {
            let mut labels = reader.labels(&data.join("celeba8k"))?;
            reader.archive(&celeba, &mut |name, photo| {
                Some(Shows::Face(photo.whole().part(CELEBA), labels.remove(file_name(name)).unwrap_or_default()))
            })?;
        }
        let helen = data.join("helen68_trainset_128");
        if helen.is_dir() {
            for face in landmarks(&helen.with_extension("csv"))? {
                let path = helen.join(&face.name);
                let bytes = files::read(&path, |file, problem| Error::Image { file, problem })?;
                reader.add(&path.display().to_string(), &bytes, &mut |_, _| {
                    Some(Shows::Face(of_landmarks(&face.points), Vec::new()))
                })?;
            }
            reader.photos.sources.push(helen.display().to_string());
        }
        let negatives = data.join("negatives");
        if negatives.is_dir() {
            reader.backgrounds(&negatives)?;
        }
        reader.finish(data)
    }

    /// Parts these photographs into those to learn from and every `k`-th of both kinds, to judge by.
    ///
    /// # Errors
    /// There are fewer than `k` faces or backgrounds.
    pub fn parted(self, k: usize) -> Result<(Self, Self)> {
        if self.faces.len() < k || self.backgrounds.len() < k {
            let (faces, backgrounds) = (self.faces.len(), self.backgrounds.len());
            return Err(Error::Usage(format!(
                "needs {k} faces and {k} pictures without, got {faces} and {backgrounds}"
            )));
        }
        fn parts<T>(all: Vec<T>, k: usize) -> (Vec<T>, Vec<T>) {
            let (held, kept): (Vec<_>, Vec<_>) =
                all.into_iter().enumerate().partition(|(number, _)| number % k == k - 1);
            let plain = |list: Vec<(usize, T)>| list.into_iter().map(|(_, one)| one).collect();
            (plain(kept), plain(held))
        }
        let Self { faces, attributes, backgrounds, sources, fingerprint } = self;
        let ((faces, held_faces), (backgrounds, held)) = (parts(faces, k), parts(backgrounds, k));
        let held = Self {
            faces: held_faces,
            attributes: attributes.clone(),
            backgrounds: held,
            sources: sources.clone(),
            fingerprint: fingerprint.clone(),
        };
        Ok((Self { faces, attributes, backgrounds, sources, fingerprint }, held))
    }

    fn new() -> Self {
        let (faces, attributes, backgrounds, sources) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { faces, attributes, backgrounds, sources, fingerprint: String::new() }
    }
}

/// Returns a face's box, given its landmarks.
fn of_landmarks(points: &[[f64; 2]]) -> Bounds {
    let ends = |axis: usize| {
        let values = points.iter().map(|point| point[axis]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((left, right), (top, bottom)) = (ends(0), ends(1));
    Bounds::of_sides([left, top, right, bottom]).part(OF_LANDMARKS)
}

/// What a picture shows: no face, or a face in this box with these labels.
enum Shows {
    Nothing,
    Face(Bounds, Vec<bool>),
}

/// Returns what the picture of a name shows, or `None` to leave it out.
type Sort<'s> = dyn FnMut(&str, &Photo) -> Option<Shows> + 's;

struct Reader<'r> {
    photos: Photos,
    hash: Sha256,
    read: &'r mut dyn FnMut(usize) -> bool,
    count: usize,
}

impl Reader<'_> {
    fn add(&mut self, name: &str, bytes: &[u8], sort: &mut Sort) -> Result<()> {
        let picture = Picture::decode(bytes, name)?;
        let photo = Photo::of(&picture);
        if let Some(shown) = sort(name, &photo) {
            self.hash.update(Sha256::digest(bytes));
            match shown {
                Shows::Face(bounds, labels) => {
                    bounds.sides().iter().for_each(|side| self.hash.update(side.to_le_bytes()));
                    self.hash.update(labels.iter().map(|is| u8::from(*is)).collect::<Vec<_>>());
                    self.photos.faces.push(Face { photo, bounds, labels });
                }
                Shows::Nothing => self.photos.backgrounds.push(photo),
            }
        }
        self.count += 1;
        if (self.read)(self.count) { Ok(()) } else { Err(Error::Interrupted) }
    }

    /// Reads the labels of those faces that attributes are learned from, by the names of the pictures.
    fn labels(&mut self, folder: &Path) -> Result<BTreeMap<String, Vec<bool>>> {
        if ["attributes.csv", "attributes.csv.gz"].iter().all(|name| !folder.join(name).is_file()) {
            return Ok(BTreeMap::new());
        }
        let source = part(folder)?;
        self.photos.attributes = source.attributes;
        Ok(source.faces.into_iter().take(source.ends[0]).collect())
    }

    /// Reads every picture of a packed archive.
    fn archive(&mut self, archive: &Path, sort: &mut Sort) -> Result<()> {
        let is_picture = |path: &str| folder::is_picture(Path::new(path));
        packed::archive(archive, &is_picture, &mut |path, bytes| self.add(path, &bytes, sort))?;
        self.photos.sources.push(archive.display().to_string());
        Ok(())
    }

    fn backgrounds(&mut self, inside: &Path) -> Result<()> {
        let read =
            packed::pictures(inside, &mut |path, bytes| self.add(path, &bytes, &mut |_, _| Some(Shows::Nothing)))?;
        self.photos.sources.extend(read.iter().map(|path| path.display().to_string()));
        Ok(())
    }

    fn finish(self, data: &Path) -> Result<Photos> {
        let Self { mut photos, hash, .. } = self;
        if photos.faces.is_empty() || photos.backgrounds.is_empty() {
            let wanted = "lfw_whole, celeba8k or helen68_trainset_128 for faces, and negatives";
            let (faces, backgrounds) = (photos.faces.len(), photos.backgrounds.len());
            let problem = format!("holds {faces} faces and {backgrounds} pictures without; it needs {wanted}");
            return Err(Error::Usage(format!("{}: {problem}", data.display())));
        }
        photos.fingerprint = files::hex(&hash.finalize());
        Ok(photos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::{Channels, Samples};
    use flate2::write::GzEncoder;

    fn picture(width: usize, height: usize, grey: u8) -> Vec<u8> {
        let picture =
            Picture::from_samples("a", width, height, Channels::Grey, Samples::U8(vec![grey; width * height]));
        picture.unwrap().encode(Picture::format_for("a.png").unwrap()).unwrap()
    }

    fn pack(archive: &Path, files: &[(&str, Vec<u8>)]) {
        std::fs::create_dir_all(archive.parent().unwrap()).unwrap();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        std::fs::write(archive, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    }

    fn open(data: &Path) -> Result<Photos> {
        Photos::open(data, &mut |_| true)
    }

    #[test]
    fn faces_that_a_test_shows_too_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert!(open(data).unwrap_err().to_string().contains("0 faces and 0 pictures without"));
        let own = |name: &str, grey| (format!("{name}/{name}_0001.png"), picture(128, 128, grey));
        let [(a, a_png), (b, b_png)] = [own("A", 10), own("B", 20)];
        pack(&data.join("lfw_whole/lfw128.tar.gz"), &[(&a, a_png), (&b, b_png), ("notes.txt", b"none".to_vec())]);
        pack(&data.join("celeba8k/celeba8k.tar.gz"), &[("1.png", picture(89, 109, 30))]);
        let lines: String = (1..=8).map(|k| format!("dev,{k}.png,{},1\n", k % 2)).collect();
        std::fs::write(data.join("celeba8k/attributes.csv"), format!("half,image,Bald,Smiling\n{lines}")).unwrap();
        pack(&data.join("negatives/some.tar.gz"), &[("x.png", picture(50, 40, 70)), ("y.png", picture(40, 50, 80))]);
        assert!(open(data).unwrap_err().to_string().contains("lfw_fddb_same_photo.csv"), "its list is needed");
        std::fs::write(data.join("lfw_fddb_same_photo.csv"), "lfw_image,lfw_half\nA/A_0001.png,dev\n").unwrap();
        let photos = open(data).unwrap();
        let [lfw, celeba] = &photos.faces[..] else { panic!("{} faces", photos.faces.len()) };
        assert_eq!(lfw.photo, Photo::new(128, 128, vec![20; 128 * 128]));
        assert_eq!((lfw.bounds.x, lfw.bounds.height), (0.315 * 128.0, 0.515 * 128.0));
        assert_eq!((celeba.bounds.y, celeba.bounds.width), (0.306 * 109.0, 0.477 * 89.0));
        assert_eq!((&celeba.labels[..], &lfw.labels[..]), (&[true, true][..], &[][..]));
        assert_eq!(photos.attributes, ["Bald", "Smiling"]);
        assert_eq!(photos.backgrounds.iter().map(Photo::width).collect::<Vec<_>>(), [50, 40]);
        assert_eq!(photos.sources.len(), 3);

        let helen = data.join("helen68_trainset_128");
        std::fs::create_dir(&helen).unwrap();
        std::fs::write(helen.join("h.png"), picture(100, 100, 40)).unwrap();
        let points: String = (0..68).map(|k| format!(",{},{}", 20 + k % 61, 30 + k % 51)).collect();
        std::fs::write(data.join("helen68_trainset_128.csv"), format!("h.png{points}\n")).unwrap();
        let more = open(data).unwrap();
        let face = &more.faces[2].bounds;
        // Landmarks reach from 20 to 80 and from 30 to 80.
        let expected = [20.0 + 0.0136 * 60.0, 30.0 - 0.279 * 50.0, 0.963 * 60.0, 1.279 * 50.0];
        let got = [face.x, face.y, face.width, face.height];
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?} {expected:?}");
        assert_ne!(more.fingerprint, photos.fingerprint);
        let mut seen = 0;
        let stopped = Photos::open(data, &mut |read| {
            seen = read;
            read < 2
        });
        assert!(matches!(stopped, Err(Error::Interrupted)) && seen == 2);
        std::fs::write(data.join("lfw_fddb_same_photo.csv"), "lfw_image,lfw_half\n").unwrap();
        assert!(open(data).unwrap_err().to_string().contains("a line for each picture"));
        std::fs::write(data.join("lfw_fddb_same_photo.csv"), "lfw_image,lfw_half\nA/A_0001.png,dev\n").unwrap();
        std::fs::write(data.join("celeba8k/celeba8k.tar.gz"), b"no archive").unwrap();
        assert!(open(data).unwrap_err().to_string().contains("celeba8k.tar.gz"));
    }
}
