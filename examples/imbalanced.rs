//! Learns two classes of very unequal size from two folders of pictures, by LMLE: an embedding trained with quintuplets, and classes by
//! the nearest clusters. Every fourth picture is held out and judges.
//!
//! `cargo run --release --example imbalanced -- healthy/ defective/`

use lineament::ops::{l2_normalize::L2Normalize, quintuplet::Quintuplet, resize::Kernel, resize::Resize};
use lineament::prelude::*;
use lineament::vectors::{ClassClusters, Classifier, Quintuplets, Rule as By};
use lineament::vision::image::{Channel, Picture};
use lineament::vision::metrics::Confusion;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const DIMENSIONS: usize = 16;
/// Pictures of each class in a step, and pictures per cluster.
const EACH: usize = 12;
const CLUSTER: usize = 30;

/// A picture's pixels and its class.
type Known = (Vec<f32>, usize);

fn network(g: &Draft) {
    let mut x = g.input("x");
    for (layer, channels) in [("conv1", 8), ("conv2", 16)] {
        x = x.conv(layer, channels, 3, Conv2d::same(3)).relu().max_pool(2);
    }
    let f = x.dense("embedding", DIMENSIONS).l2_normalize(L2Normalize::default());
    g.output("f", f);
    g.loss("loss", || {
        let partners = f.reshape([2 * EACH, DIMENSIONS]).gather(g.input("rows"), 0);
        partners.reshape([10 * EACH, DIMENSIONS, 1, 1]).quintuplet(g.input("weights"), Quintuplet::default())
    });
}

fn batch(all: &[&Known]) -> Result<Tensor> {
    Tensor::new([all.len(), 3, SIDE, SIDE], all.iter().flat_map(|(x, _)| x.iter().copied()).collect::<Vec<_>>())
}

fn embed(network: &Network, all: &[&Known]) -> Result<Tensor> {
    network.run(&[("x", &batch(all)?)])?.take("f")?.reshaped([all.len(), DIMENSIONS])
}

/// Trains on three quarters of the pictures, and returns the balanced accuracy on the others.
pub fn learn(device: &Device, pictures: &[Known], steps: u64) -> Result<f64> {
    let part = |judges| pictures.iter().enumerate().filter(move |(k, _)| (k % 4 == 0) == judges).map(|(_, one)| one);
    let (train, judges): (Vec<&Known>, Vec<&Known>) = (part(false).collect(), part(true).collect());
    let classes_of = |all: &[&Known]| all.iter().map(|one| one.1).collect::<Vec<_>>();
    let network = device.network(Params::fresh(1), network);
    let (mut training, mut rng) = (network.train(Optimizer::adam())?, Rng::new(1));
    let cluster = || ClassClusters::new(device, &embed(&network, &train)?, &classes_of(&train), CLUSTER, 1);
    let members = [0, 1].map(|class| (0..train.len()).filter(|&k| train[k].1 == class).collect::<Vec<_>>());
    let mut clusters = cluster()?;
    for step in 0..steps {
        if step % 20 == 19 {
            clusters = cluster()?;
        }
        // As many of one class as of the other.
        let chosen: Vec<usize> = (0..2 * EACH).map(|k| members[k % 2][rng.below(members[k % 2].len())]).collect();
        let group: Vec<&Known> = chosen.iter().map(|&k| train[k]).collect();
        let labels: Vec<usize> = chosen.iter().map(|&k| clusters.labels[k]).collect();
        let found = Quintuplets::among(&embed(&network, &group)?, &classes_of(&group), &labels)?;
        let (rows, weights) = found.batch(&(0..2 * EACH).collect::<Vec<_>>())?;
        let rows = Tensor::new([rows.len()], rows.iter().map(|&row| row as u32).collect::<Vec<_>>())?;
        training.step(3e-3, &[("x", &batch(&group)?), ("rows", &rows), ("weights", &weights)])?;
    }
    let ClassClusters { centroids, classes, .. } = cluster()?;
    let found = Classifier::new(device, &centroids, &classes, 20, By::Margin)?.classify(&embed(&network, &judges)?)?;
    Ok(Confusion::new(2, &classes_of(&judges), &found)?.balanced_accuracy())
}

/// Reads every picture of a folder, resized.
pub fn read(folder: &Path, class: usize) -> Result<Vec<Known>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let open = |file: &PathBuf| {
        let picture = Picture::open(file)?;
        let op = Resize::to(Kernel::Bicubic, [picture.height(), picture.width()], [SIDE; 2]);
        let small = picture.resize(&op.map_err(|e| Error::Usage(format!("{}: {e}", file.display())))?)?;
        let planes = [Channel::Red, Channel::Green, Channel::Blue].map(|channel| small.plane(channel, small.whole()));
        Ok((planes.into_iter().collect::<Result<Vec<_>>>()?.concat(), class))
    };
    files.iter().map(open).collect()
}

fn main() -> Result<()> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [a, b] = &folders[..] else { return Err(Error::Usage("give two folders of pictures".into())) };
    let (device, pictures) = (Device::open(&Select::Default)?, [read(a, 0)?, read(b, 1)?].concat());
    println!("balanced accuracy {:.3} on {}", learn(&device, &pictures, 400)?, device.describe());
    Ok(())
}
