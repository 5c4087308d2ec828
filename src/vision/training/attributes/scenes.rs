//! Faces with attributes before backgrounds, to measure what is left of the labels when the faces must be found first.

use super::data::{file_name, part};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::vision::image::{Channel, Channels, Picture, Rect};
use crate::vision::tasks::attributes::Frame;
use crate::vision::training::packed;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest width and height of a background.
const SIZE: [usize; 2] = [320, 240];

/// A picture in which one face lies somewhere.
#[derive(Debug, Clone)]
pub struct Scene {
    pub picture: Picture,
    /// Where the aligned picture of the face lies.
    pub frame: Frame,
    /// Which of [`Scenes::attributes`] it has.
    pub labels: Vec<bool>,
}

/// Pictures with a face each.
#[derive(Debug, Clone)]
pub struct Scenes {
    pub attributes: Vec<String>,
    pub all: Vec<Scene>,
}

impl Scenes {
    /// Puts the first `most` validation faces of `celeba8k` in `data` before pictures of `negatives`, each at a place by chance that is the
    /// same at every call. `read` is told how many pictures were read, and ends the reading by false.
    ///
    /// # Errors
    /// A file is missing or broken; there are no validation faces, or no backgrounds that are large enough; `read` returned false ([`Error::Interrupted`]).
    pub fn open(data: &Path, most: usize, read: &mut dyn FnMut(usize) -> bool) -> Result<Self> {
        let inner = data.join("celeba8k");
        let source = part(&inner)?;
        let validation = source.faces.into_iter().take(source.ends[1]).skip(source.ends[0]).take(most);
        let mut labels: BTreeMap<String, Vec<bool>> = validation.collect();
        let (mut faces, mut count) = (Vec::new(), 0);
        let mut next = || {
            count += 1;
            if read(count) { Ok(()) } else { Err(Error::Interrupted) }
        };
        packed::pictures(&inner, &mut |path, bytes| {
            if let Some(labels) = labels.remove(file_name(path)) {
                faces.push((Picture::decode(&bytes, path)?, labels));
                next()?;
            }
            Ok(())
        })?;
        if faces.is_empty() {
            return Err(Error::Usage(format!("{}: has no faces for validation", inner.display())));
        }
        let negatives = data.join("negatives");
        let most = |side: fn(&Picture) -> usize| faces.iter().map(|(face, _)| side(face)).max().unwrap_or(0);
        let least = [most(Picture::width), most(Picture::height)];
        let mut backgrounds = Vec::new();
        packed::pictures(&negatives, &mut |path, bytes| {
            if backgrounds.len() < faces.len() {
                let picture = Picture::decode(&bytes, path)?;
                if picture.width() >= least[0] && picture.height() >= least[1] {
                    backgrounds.push(picture);
                }
                next()?;
            }
            Ok(())
        })?;
        if backgrounds.is_empty() {
            return Err(Error::Usage(format!("{}: has no pictures as large as a face", negatives.display())));
        }
        let (mut rng, mut all) = (Rng::new(1), Vec::new());
        for (number, (face, labels)) in faces.iter().enumerate() {
            let background = &backgrounds[number % backgrounds.len()];
            let [width, height] = [background.width().min(SIZE[0]), background.height().min(SIZE[1])];
            let mut picture = Picture::new(face.name(), width, height, Channels::Rgb, 8)?;
            let [left, top] = [width - face.width(), height - face.height()].map(|room| rng.below(room + 1));
            let corner = Rect { top: 0, left: 0, height, width };
            for (part, from, to) in
                [(background, corner, corner), (face, face.whole(), Rect { top, left, ..face.whole() })]
            {
                let planes = [Channel::Red, Channel::Green, Channel::Blue].map(|channel| part.plane(channel, from));
                let [red, green, blue] = planes;
                picture.put_rgb(to, [&red?, &green?, &blue?])?;
            }
            let frame = Frame { left: left as i64, top: top as i64, width: face.width(), height: face.height() };
            all.push(Scene { picture, frame, labels: labels.clone() });
        }
        Ok(Self { attributes: source.attributes, all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Samples;

    fn save(path: &Path, width: usize, height: usize, grey: u8) {
        let samples = Samples::U8(vec![grey; width * height]);
        Picture::from_samples("a", width, height, Channels::Grey, samples).unwrap().save(path).unwrap();
    }

    #[test]
    fn validation_faces_lie_where_their_frame_says() {
        let folder = tempfile::tempdir().unwrap();
        let (celeba, negatives) = (folder.path().join("celeba8k"), folder.path().join("negatives"));
        for folder in [&celeba, &negatives] {
            std::fs::create_dir(folder).unwrap();
        }
        // Of sixteen faces, two for each eighth: 13 and 14 are for validation.
        let lines: String = (1..=16).map(|k| format!("dev,{k}.png,{},{}\n", k % 2, u8::from(k > 13))).collect();
        std::fs::write(celeba.join("attributes.csv"), format!("half,image,Bald,Smiling\n{lines}")).unwrap();
        (1..=16).for_each(|k| save(&celeba.join(format!("{k}.png")), 20, 30, 100 + k));
        let open = |most| Scenes::open(folder.path(), most, &mut |_| true);
        assert!(open(0).unwrap_err().to_string().contains("no faces for validation"));
        save(&negatives.join("a.png"), 19, 400, 10);
        assert!(open(5).unwrap_err().to_string().contains("as large as a face"));
        save(&negatives.join("b.png"), 400, 300, 20);
        let scenes = open(5).unwrap();
        assert_eq!((&scenes.attributes[..], scenes.all.len()), (&["Bald".to_owned(), "Smiling".to_owned()][..], 2));
        for (k, scene) in scenes.all.iter().enumerate() {
            let (picture, frame) = (&scene.picture, scene.frame);
            assert_eq!(scene.labels, [k == 0, k == 1]);
            assert_eq!((picture.width(), picture.height(), frame.width, frame.height), (320, 240, 20, 30));
            let red = picture.plane(Channel::Red, picture.whole()).unwrap();
            let is_in = |at: usize| {
                let (x, y) = ((at % 320) as i64 - frame.left, (at / 320) as i64 - frame.top);
                (0..20).contains(&x) && (0..30).contains(&y)
            };
            let grey = |at: usize| if is_in(at) { 113.0 + k as f32 } else { 20.0 };
            assert!((0..red.len()).all(|at| (255.0 * red[at] - grey(at)).abs() < 0.1), "{k}: {frame:?}");
        }
        assert_ne!(scenes.all[0].frame, scenes.all[1].frame);
        assert_eq!(open(1).unwrap().all.len(), 1);
        assert!(matches!(Scenes::open(folder.path(), 5, &mut |read| read < 2), Err(Error::Interrupted)));
    }
}
