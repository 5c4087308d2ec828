//! How accurate the classifier of 40 face attributes becomes beside PyTorch's: the same pictures, steps, optimiser and schedule, three
//! seeds each.
//!
//! `LINEAMENT_CELEBA=DIR cargo bench --bench attributes` trains lineament's; with `LINEAMENT_TORCH_PYTHON=/path/to/python` also
//! PyTorch's. DIR holds CelebA's pictures and attributes.csv, whose lines `dev,000001.jpg,0,1,…` give a picture and 40 numbers 0 or 1;
//! other lines are not read. The last 1,000 pictures are held out. Without DIR there is nothing to do.

use lineament::ops::resize::{Kernel, Resize};
use lineament::prelude::*;
use lineament::{Picture, image::Channel, import::npy};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SIDE: usize = 64;
const PIXELS: usize = 3 * SIDE * SIDE;
const ATTRIBUTES: usize = 40;
const HELD_OUT: usize = 1000;
const BATCH: usize = 64;
const STEPS: u64 = 440;
const SCHEDULE: Schedule = Schedule { lr: 2e-3, warmup: 20, decay: Decay::Cosine { end: 0.0, steps: STEPS } };
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// Trains on the arrays in the folder that it is told, by the rates in rates.txt, and prints an accuracy per seed.
const PYTHON: &str = r#"
import sys
import numpy as np, torch
from torch import nn
folder, held_out, batch, seeds = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(2)
x, t = (torch.from_numpy(np.load(f"{folder}/{name}.npy")) for name in "xt")
t = t.flatten(1)
train = len(x) - held_out
rates = [float(line) for line in open(f"{folder}/rates.txt")]
for seed in range(1, seeds + 1):
    torch.manual_seed(seed)
    layers, c = [], 3
    for k in (16, 32, 64):
        layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        c = k
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, t.shape[1]))
    for layer in model:
        if hasattr(layer, "weight"):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    adam = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    for rate in rates:
        adam.param_groups[0]["lr"] = rate
        at = torch.randint(train, (batch,))
        mirrored = torch.rand(batch) < 0.5
        pictures = x[at]
        pictures[mirrored] = pictures[mirrored].flip(3)
        adam.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(pictures), t[at]).backward()
        adam.step()
    with torch.no_grad():
        logits = model(x[train:])
    print(((logits > 0) == (t[train:] > 0.5)).float().mean().item(), flush=True)
"#;

fn classifier(g: &Draft) {
    let mut x = g.input("x");
    for (layer, channels) in [("conv1", 16), ("conv2", 32), ("conv3", 64)] {
        x = x.conv(layer, channels, 3, Conv2d::same(3)).relu().max_pool(2);
    }
    let logits = x.dense("head", ATTRIBUTES);
    g.output("logits", logits);
    g.loss("loss", || logits.bce_with_logits(g.input("t"), Reduction::Mean));
}

/// Pictures, each with its attributes, one after the other.
struct Faces {
    x: Vec<f32>,
    t: Vec<f32>,
}

impl Faces {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("attributes.csv");
        let table = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let mut faces = Self { x: Vec::new(), t: Vec::new() };
        for line in table.lines().filter(|line| line.starts_with("dev,")) {
            let mut fields = line.split(',').skip(1);
            let file = folder.join(fields.next().unwrap_or_default());
            let picture = Picture::open(&file)?;
            let from = [picture.height(), picture.width()];
            let small = picture.resize(&Resize::to(Kernel::Bicubic, from, [SIDE, SIDE]).expect("sides below 2^32"))?;
            for channel in [Channel::Red, Channel::Green, Channel::Blue] {
                faces.x.extend(small.plane(channel, small.whole())?);
            }
            let before = faces.t.len();
            faces.t.extend(fields.map(|field| if field == "1" { 1.0 } else { 0.0 }));
            if faces.t.len() != before + ATTRIBUTES {
                return Err(Error::Usage(format!("{}: {line:.40}: needs {ATTRIBUTES} attributes", path.display())));
            }
        }
        if faces.count() <= HELD_OUT {
            return Err(Error::Usage(format!("{}: needs more than {HELD_OUT} pictures", path.display())));
        }
        Ok(faces)
    }

    fn count(&self) -> usize {
        self.t.len() / ATTRIBUTES
    }

    /// Returns the pictures `at`, each mirrored if its flag says so.
    fn batch(&self, at: impl IntoIterator<Item = (usize, bool)>) -> Result<[Tensor; 2]> {
        let (mut x, mut t) = (Vec::new(), Vec::new());
        for (k, is_mirrored) in at {
            let pixels = &self.x[k * PIXELS..][..PIXELS];
            match is_mirrored {
                true => x.extend(pixels.chunks(SIDE).flat_map(|row| row.iter().rev().copied())),
                false => x.extend_from_slice(pixels),
            }
            t.extend_from_slice(&self.t[k * ATTRIBUTES..][..ATTRIBUTES]);
        }
        let count = t.len() / ATTRIBUTES;
        Ok([Tensor::new([count, 3, SIDE, SIDE], x)?, Tensor::new([count, ATTRIBUTES, 1, 1], t)?])
    }
}

/// Trains from `seed`, and returns the share of the held-out attributes that are right.
fn accuracy(device: &Device, faces: &Arc<Faces>, seed: u64) -> Result<f64> {
    let (pictures, first) = (faces.clone(), faces.count() - HELD_OUT);
    let network = device.network(Params::fresh(seed), classifier);
    let mut training = network.train(Optimizer::adamw(1e-4))?;
    let mut loader = Loader::new(1, 1, STEPS, move |step| {
        let mut rng = Rng::of_step(seed, step);
        pictures.batch((0..BATCH).map(|_| (rng.below(first), rng.below(2) == 0)))
    })?;
    for step in 1..=STEPS {
        let [x, t] = loader.take(step)?;
        training.step(SCHEDULE.at(step), &[("x", &x), ("t", &t)])?;
    }
    let [x, t] = faces.batch((first..faces.count()).map(|k| (k, false)))?;
    let logits = network.run(&[("x", &x)])?.take("logits")?;
    let right = logits.data().iter().zip(t.data()).filter(|(logit, t)| (**logit > 0.0) == (**t > 0.5)).count();
    Ok(right as f64 / t.data().len() as f64)
}

/// Returns PyTorch's accuracies in the order of the seeds.
fn of_pytorch(python: &str, faces: &Faces) -> Result<Vec<f64>> {
    let folder = std::env::temp_dir().join(format!("attributes-{}", std::process::id()));
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
    };
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let [x, t] = faces.batch((0..faces.count()).map(|k| (k, false)))?;
    write("x.npy", npy::write(&x))?;
    write("t.npy", npy::write(&t))?;
    write("rates.txt", (1..=STEPS).map(|step| format!("{}\n", SCHEDULE.at(step))).collect::<String>().into())?;
    let mut command = Command::new(python);
    command.args(["-c", PYTHON]).arg(&folder);
    command.args([HELD_OUT, BATCH, SEEDS.count()].map(|number| number.to_string()));
    let output =
        command.stderr(std::process::Stdio::inherit()).output().map_err(|e| Error::io(Path::new(python), e))?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect())
}

fn main() -> Result<()> {
    // `cargo test --benches` only compiles it.
    let folder =
        std::env::var_os("LINEAMENT_CELEBA").filter(|_| std::env::args().any(|argument| argument == "--bench"));
    let Some(folder) = folder else {
        println!("skipped: LINEAMENT_CELEBA names no folder of pictures");
        return Ok(());
    };
    let (device, faces) = (Device::open(&Select::Default)?, Arc::new(Faces::open(Path::new(&folder))?));
    println!("{}; {} pictures, {HELD_OUT} of them held out", device.describe(), faces.count());
    let show = |who: &str, all: &[f64]| {
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        println!("{who:>9}: {all:.4?}, mean {mean:.4}");
    };
    show("lineament", &SEEDS.map(|seed| accuracy(&device, &faces, seed)).collect::<Result<Vec<f64>>>()?);
    if let Ok(python) = std::env::var("LINEAMENT_TORCH_PYTHON") {
        show("PyTorch", &of_pytorch(&python, &faces)?);
    }
    Ok(())
}
