//! Folders of drawn faces with landmarks.

use lineament::image::{Channels, Picture, Samples};
use lineament::rng::Rng;
use std::path::Path;

/// Returns the 68 points of a face as fractions of the picture, in iBUG's order, slightly different in every call.
fn face_points(rng: &mut Rng) -> Vec<[f64; 2]> {
    let arc = |count: usize, centre: [f64; 2], radius: [f64; 2], from: f64, to: f64| {
        (0..count).map(move |k| {
            let angle = (from + (to - from) * k as f64 / (count - 1) as f64).to_radians();
            [centre[0] + radius[0] * angle.cos(), centre[1] - radius[1] * angle.sin()]
        })
    };
    let mut points: Vec<[f64; 2]> = arc(17, [0.5, 0.35], [0.36, 0.5], 190.0, 350.0).collect();
    points.extend(arc(5, [0.34, 0.24], [0.12, 0.05], 170.0, 10.0));
    points.extend(arc(5, [0.66, 0.24], [0.12, 0.05], 170.0, 10.0));
    points.extend((0..4).map(|k| [0.5, 0.3 + 0.06 * f64::from(k)]));
    points.extend(arc(5, [0.5, 0.5], [0.08, 0.03], 200.0, 340.0));
    points.extend(arc(6, [0.357, 0.29], [0.06, 0.03], 180.0, -120.0));
    points.extend(arc(6, [0.643, 0.29], [0.06, 0.03], 180.0, -120.0));
    points.extend(arc(12, [0.5, 0.62], [0.13, 0.06], 180.0, -150.0));
    points.extend(arc(8, [0.5, 0.62], [0.09, 0.03], 180.0, -135.0));
    points.iter().map(|p| p.map(|v| v + 0.01 * rng.normal())).collect()
}

/// Creates a folder of `count` drawn faces, with the list of their landmarks beside it.
pub fn face_folder(folder: &Path, count: usize) {
    std::fs::create_dir(folder).unwrap();
    let mut rng = Rng::new(3);
    let mut list = format!("file,{}\n", vec!["x"; 136].join(","));
    for k in 0..count {
        let points = face_points(&mut rng);
        let shade = |q: usize| {
            let (x, y) = ((q % 64) as f64 / 64.0, (q / 64) as f64 / 64.0);
            let dark = points.iter().map(|p| (-((p[0] - x).powi(2) + (p[1] - y).powi(2)) / 4e-4).exp()).sum::<f64>();
            (200.0 - 150.0 * dark.min(1.0)) as u8
        };
        let samples = Samples::U8((0..64 * 64).map(shade).collect());
        let name = format!("{k}.png");
        Picture::from_samples(&name, 64, 64, Channels::Grey, samples).unwrap().save(folder.join(&name)).unwrap();
        let numbers: Vec<String> = points.iter().flatten().map(|v| format!("{:.3}", v * 64.0)).collect();
        list += &format!("{name},{}\n", numbers.join(","));
    }
    std::fs::write(folder.with_extension("csv"), list).unwrap();
}
