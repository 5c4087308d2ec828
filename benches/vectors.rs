//! k-means of 13,000 vectors of 128 dimensions into 500 clusters beside scikit-learn, from the same start, in turns.
//!
//! `cargo bench --bench vectors` times lineament alone; `LINEAMENT_SKLEARN_PYTHON=/path/to/python cargo bench --bench vectors` also times
//! scikit-learn with two threads.

use lineament::import::npy;
use lineament::prelude::*;
use lineament::vectors::{KMeans, Neighbours};
use std::process::Command;
use std::time::Instant;

const VECTORS: usize = 13_000;
const DIMENSIONS: usize = 128;
const CLUSTERS: usize = 500;
const ROUNDS: usize = 20;

/// Reads the vectors and the start from the folder that it is told; prints milliseconds and the inertia.
const PYTHON: &str = r#"
import sys, time, warnings
import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
warnings.filterwarnings("ignore")
x, start = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("x", "start"))
with threadpool_limits(2):
    for _ in range(2):
        begin = time.perf_counter()
        found = KMeans(len(start), init=start, n_init=1, max_iter=int(sys.argv[2]), tol=0, algorithm="lloyd").fit(x)
        ms = 1e3 * (time.perf_counter() - begin)
centroids = found.cluster_centers_.astype(np.float64)
inertia = sum(((x[k].astype(np.float64) - centroids) ** 2).sum(1).min() for k in range(len(x)))
print(ms, inertia, found.n_iter_)
"#;

fn main() -> Result<()> {
    // `cargo test --benches` only compiles it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let device = Device::open(&Select::Default)?;
    println!("{}", device.describe());
    let mut rng = Rng::new(1);
    // Clouds around 800 centres.
    let centres: Vec<f64> = (0..800 * DIMENSIONS).map(|_| rng.normal()).collect();
    let mut values = Vec::with_capacity(VECTORS * DIMENSIONS);
    for _ in 0..VECTORS {
        let first = rng.below(800) * DIMENSIONS;
        values.extend((0..DIMENSIONS).map(|d| (centres[first + d] + 0.7 * rng.normal()) as f32));
    }
    let start: Vec<f32> = values[..CLUSTERS * DIMENSIONS].to_vec();
    let (x, start) = (Tensor::new([VECTORS, DIMENSIONS], values)?, Tensor::new([CLUSTERS, DIMENSIONS], start)?);
    let k_means = KMeans { rounds: ROUNDS, start: Some(start.clone()), ..KMeans::new(CLUSTERS) };
    for k in [1, 20] {
        let neighbours = Neighbours::new(&device, &start)?;
        neighbours.nearest(&x, k)?;
        let begin = Instant::now();
        neighbours.nearest(&x, k)?;
        println!("the {k} nearest of {CLUSTERS} to each: {:.0} ms", 1e3 * begin.elapsed().as_secs_f64());
    }
    k_means.run(&device, &x)?;
    let begin = Instant::now();
    let clusters = k_means.run(&device, &x)?;
    let ms = 1e3 * begin.elapsed().as_secs_f64();
    println!("k-means, lineament:    {ms:.0} ms, inertia {:.4}, {} rounds", clusters.inertia, clusters.rounds);
    if let Ok(python) = std::env::var("LINEAMENT_SKLEARN_PYTHON") {
        let folder = std::env::temp_dir().join(format!("vectors-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        for (name, tensor) in [("x", &x), ("start", &start)] {
            let path = folder.join(format!("{name}.npy"));
            std::fs::write(&path, npy::write(tensor)).map_err(|e| Error::io(&path, e))?;
        }
        let output = Command::new(python).args(["-c", PYTHON]).arg(&folder).arg(ROUNDS.to_string()).output();
        let _ = std::fs::remove_dir_all(&folder);
        let output = output.expect("python starts");
        let text = String::from_utf8_lossy(&output.stdout);
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [ms, inertia, rounds] => println!("k-means, scikit-learn: {ms} ms, inertia {inertia}, {rounds} rounds"),
            _ => println!("scikit-learn failed: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    Ok(())
}
