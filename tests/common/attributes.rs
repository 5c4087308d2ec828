//! Folders of pictures with attributes.

use lineament::image::{Channels, Picture, Samples};
use std::path::Path;

/// Writes a folder of `count` pictures of CelebA's size with three attributes: of a third, of none but one, and of half of them.
pub fn attribute_folder(folder: &Path, count: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut table = String::from("half,image,Smiling,Bald,Male\n");
    for k in 0..count {
        let name = format!("{k:06}.png");
        let samples = (0..109 * 89 * 3).map(|i| (i * (7 + k % 3) + 60 * (k % 2)) as u8).collect();
        let picture = Picture::from_samples("face", 89, 109, Channels::Rgb, Samples::U8(samples)).unwrap();
        std::fs::write(folder.join(&name), picture.encode(Picture::format_for(&name).unwrap()).unwrap()).unwrap();
        table += &format!("dev,{name},{},{},{}\n", u8::from(k % 3 == 0), u8::from(k == 4), k % 2);
    }
    std::fs::write(folder.join("attributes.csv"), table).unwrap();
}
