//! Nearest neighbours and clusters.

use lineament::ops::l2_normalize::L2Normalize;
use lineament::ops::quintuplet::Quintuplet;
use lineament::prelude::*;
use lineament::rng::Rng;
use lineament::vectors::{ClassClusters, Classifier, KMeans, Neighbours, Pca, Quintuplets, Rule};

mod common;

fn devices() -> Vec<Device> {
    [Device::open(&Select::Cpu).ok(), common::device()].into_iter().flatten().collect()
}

/// Vectors of which many lie at equal distances: small whole numbers.
fn whole_numbers(n: usize, d: usize, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    Tensor::new([n, d], (0..n * d).map(|_| rng.below(3) as f32).collect()).unwrap()
}

fn rows(vectors: &Tensor) -> Vec<Vec<f64>> {
    vectors.data().chunks(vectors.shape()[1]).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The k nearest by definition.
fn nearest(known: &Tensor, vector: &[f64], k: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> =
        rows(known).iter().enumerate().map(|(index, row)| (index, distance(row, vector))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

#[test]
fn the_nearest_are_exact_and_ties_go_to_the_lower_index() {
    for device in devices() {
        for (known, k) in [(whole_numbers(40, 3, 1), 5), (whole_numbers(7, 9, 2), 7), (whole_numbers(1, 1, 3), 1)] {
            let vectors = whole_numbers(30, known.shape()[1], 4);
            let found = Neighbours::new(&device, &known).unwrap().nearest(&vectors, k).unwrap();
            assert_eq!(found.k(), k);
            for (n, vector) in rows(&vectors).iter().enumerate() {
                assert_eq!(found.of(n).collect::<Vec<_>>(), nearest(&known, vector, k));
            }
        }
    }
}

#[test]
fn what_f32_cannot_tell_apart_is_compared_exactly() {
    // Far from the origin and closer together than an f32 distance resolves: the nearest comes last among fifty.
    let known: Vec<f32> = (0..50).flat_map(|k| [4096.0, 1.0 + (49 - k) as f32 * f32::EPSILON]).collect();
    let known = Tensor::new([50, 2], known).unwrap();
    let vector = Tensor::new([1, 2], vec![0.0, 0.0]).unwrap();
    for device in devices() {
        let found = Neighbours::new(&device, &known).unwrap().nearest(&vector, 3).unwrap();
        assert_eq!(found.of(0).map(|(index, _)| index).collect::<Vec<_>>(), [49, 48, 47], "{}", device.describe());
    }
}

#[test]
fn many_vectors_are_looked_up_in_parts() {
    let Some(device) = common::device() else { return };
    let (known, vectors) = (whole_numbers(33, 2, 5), whole_numbers(4099, 2, 6));
    let found = Neighbours::new(&device, &known).unwrap().nearest(&vectors, 1).unwrap();
    let firsts: Vec<(usize, f64)> = found.first().collect();
    assert_eq!(firsts.len(), 4099);
    for (vector, first) in rows(&vectors).iter().zip(firsts) {
        assert_eq!(vec![first], nearest(&known, vector, 1));
    }
}

/// The device for what needs none.
fn references() -> Device {
    Device::open(&Select::Cpu).unwrap()
}

#[test]
fn clusters_are_found_and_every_device_finds_the_same() {
    let mut rng = Rng::new(7);
    let centres = [[0.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 8.0, 1.0], [8.0, 8.0, 8.0]];
    let values = (0..120).flat_map(|k| centres[k % 4].map(|c| c + rng.normal())).map(|v| v as f32).collect();
    let vectors = Tensor::new([120, 3], values).unwrap();
    let clusters = KMeans::new(4).run(&references(), &vectors).unwrap();
    assert_eq!(clusters.counts(), [30; 4]);
    assert!((0..120).all(|k| clusters.labels[k] == clusters.labels[k % 4]));
    // Every centroid is the mean of its vectors, and the inertia that of the definition.
    let (points, centroids) = (rows(&vectors), rows(&clusters.centroids));
    let sum: f64 = points.iter().zip(&clusters.labels).map(|(p, label)| distance(p, &centroids[*label])).sum();
    assert!((clusters.inertia / sum - 1.0).abs() < 1e-12, "{} {sum}", clusters.inertia);
    for (label, centroid) in centroids.iter().enumerate() {
        let own: Vec<_> = points.iter().zip(&clusters.labels).filter(|(_, l)| **l == label).collect();
        for (d, value) in centroid.iter().enumerate() {
            let mean = own.iter().map(|(p, _)| p[d]).sum::<f64>() / own.len() as f64;
            assert!((value - mean).abs() < 1e-6, "{value} {mean}");
        }
    }
    if let Some(device) = common::device() {
        let again = KMeans::new(4).run(&device, &vectors).unwrap();
        assert_eq!((again.centroids, again.rounds), (clusters.centroids, clusters.rounds));
    }
}

/// The labels, centroids and rounds of k-means by definition. A lost cluster gets the farthest vector of a cluster that has another.
fn by_definition(vectors: &Tensor, start: &Tensor) -> (Vec<usize>, Vec<Vec<f64>>, usize) {
    let (points, mut centroids) = (rows(vectors), rows(start));
    let mut labels = vec![usize::MAX; points.len()];
    for round in 1.. {
        let known = as_tensor(&centroids);
        let found: Vec<(usize, f64)> = points.iter().map(|p| nearest(&known, p, 1)[0]).collect();
        let before = std::mem::replace(&mut labels, found.iter().map(|(label, _)| *label).collect());
        if before == labels {
            return (labels, centroids, round);
        }
        let mut members = labels.clone();
        let mut farthest: Vec<usize> = (0..points.len()).collect();
        farthest.sort_by(|a, b| found[*b].1.total_cmp(&found[*a].1));
        let mut farthest = farthest.into_iter();
        for empty in 0..centroids.len() {
            while !members.contains(&empty) {
                let k = farthest.next().unwrap();
                if members.iter().filter(|label| **label == members[k]).count() > 1 {
                    members[k] = empty;
                }
            }
        }
        for (label, centroid) in centroids.iter_mut().enumerate() {
            let own: Vec<_> = points.iter().zip(&members).filter(|(_, l)| **l == label).map(|(p, _)| p).collect();
            for (k, value) in centroid.iter_mut().enumerate() {
                *value = f64::from((own.iter().map(|p| p[k]).sum::<f64>() / own.len() as f64) as f32);
            }
        }
    }
    unreachable!("k-means settles")
}

/// Bounds save most distances, but never change a label: clusters are those of the definition, of whole numbers with many equal
/// distances, far from zero, of vectors that occur several times, with one cluster, and with as many as vectors.
#[test]
fn clusters_are_those_of_looking_up_every_vector() {
    let mut all = Vec::new();
    for (n, d, count, seed) in [(300, 6, 9, 1), (200, 11, 20, 2), (150, 4, 5, 3), (64, 3, 1, 4), (70, 2, 70, 5)] {
        all.push((whole_numbers(n, d, seed), count));
    }
    let mut rng = Rng::new(8);
    for (n, d, count, offset) in [(400, 5, 40, 0.0), (400, 7, 60, 1e3), (257, 33, 17, 1e3), (90, 3, 90, -1e6)] {
        let values = (0..n * d).map(|_| (offset + rng.normal()) as f32).collect::<Vec<_>>();
        all.push((Tensor::new([n, d], values).unwrap(), count));
    }
    // Some are equal to those that start, so that clusters are lost.
    let twice = Tensor::new([200, 3], all[5].0.data()[..300].repeat(2)).unwrap();
    all.push((twice, 150));
    let device = common::device().unwrap_or_else(references);
    for (vectors, count) in all {
        let [n, d] = [vectors.shape()[0], vectors.shape()[1]];
        let start = Tensor::new([count, d], vectors.data()[..count * d].to_vec()).unwrap();
        let (labels, centroids, rounds) = by_definition(&vectors, &start);
        let clusters = KMeans { start: Some(start), ..KMeans::new(count) }.run(&device, &vectors).unwrap();
        assert_eq!((&clusters.labels, clusters.rounds), (&labels, rounds), "{n} × {d} into {count}");
        assert_eq!(rows(&clusters.centroids), centroids, "{n} × {d} into {count}");
    }
}

fn as_tensor(rows: &[Vec<f64>]) -> Tensor {
    Tensor::new([rows.len(), rows[0].len()], rows.iter().flatten().map(|v| *v as f32).collect::<Vec<f32>>()).unwrap()
}

#[test]
fn a_cluster_that_loses_its_vectors_gets_the_farthest_one() {
    let vectors = Tensor::new([4, 1], vec![0.0, 1.0, 2.0, 10.0]).unwrap();
    let start = Some(Tensor::new([2, 1], vec![3.0, 100.0]).unwrap());
    let clusters = KMeans { start, ..KMeans::new(2) }.run(&references(), &vectors).unwrap();
    assert_eq!((clusters.labels, clusters.centroids.data()), (vec![0, 0, 0, 1], &[1.0, 10.0][..]));
    assert_eq!(clusters.inertia, 2.0);
    // As many clusters as vectors, some of which are equal.
    let equal = Tensor::filled([3, 2], 0.5);
    let clusters = KMeans::new(3).run(&references(), &equal).unwrap();
    assert_eq!((clusters.inertia, clusters.labels), (0.0, vec![0; 3]));
    // A round is not enough to settle.
    let start = Some(Tensor::new([2, 1], vec![0.0, 1.0]).unwrap());
    let one = KMeans { start, rounds: 1, ..KMeans::new(2) }.run(&references(), &vectors).unwrap();
    assert_eq!((one.rounds, one.labels), (1, vec![0, 1, 1, 1]));
}

#[test]
fn classes_are_clustered_by_themselves() {
    // Two of class 7 lie among the nine of class 2, which has three places.
    let values = vec![0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 9.0, 9.1, 9.2, 0.15, 9.15];
    let classes = [2, 2, 2, 2, 2, 2, 2, 2, 2, 7, 7];
    let vectors = Tensor::new([11, 1], values).unwrap();
    let found = ClassClusters::new(&references(), &vectors, &classes, 3, 1).unwrap();
    assert_eq!(found.classes, [2, 2, 2, 7]);
    assert!((0..11).all(|k| found.classes[found.labels[k]] == classes[k]));
    assert!([0, 3, 6].into_iter().all(|first| (1..3).all(|k| found.labels[first + k] == found.labels[first])));
    for (label, centroid) in found.centroids.data().iter().enumerate() {
        let own: Vec<f32> = (0..11).filter(|&k| found.labels[k] == label).map(|k| vectors.data()[k]).collect();
        assert!((centroid - own.iter().sum::<f32>() / own.len() as f32).abs() < 1e-5, "{label}");
    }
    let error = ClassClusters::new(&references(), &vectors, &classes[1..], 3, 1).unwrap_err().to_string();
    assert!(error.contains("classes must be 11, one for each vector, got 10"), "{error}");
}

#[test]
fn wrong_vectors_are_refused() {
    let device = Device::open(&Select::Cpu).unwrap();
    let known = whole_numbers(4, 2, 1);
    let message = |result: Result<lineament::vectors::Nearest>| result.unwrap_err().to_string();
    let neighbours = Neighbours::new(&device, &known).unwrap();
    assert!(message(neighbours.nearest(&whole_numbers(1, 3, 1), 1)).contains("2 dimensions as the known ones, got 3"));
    assert!(message(neighbours.nearest(&known, 5)).contains("k must be 1 to 4, the number of known vectors, got 5"));
    assert!(message(neighbours.nearest(&known, 0)).contains("got 0"));
    let nan = Tensor::new([2, 2], vec![0.0, 1.0, f32::NAN, 2.0]).unwrap();
    assert!(message(neighbours.nearest(&nan, 1)).contains("vector 1, dimension 0 is NaN"));
    let error = Neighbours::new(&device, &Tensor::filled([2, 2, 1, 1], 0.0)).unwrap_err().to_string();
    assert!(error.contains("must be vectors [N, D], at least one, got [2, 2, 1, 1]"), "{error}");
    let none = Tensor::new([0, 2], Vec::<f32>::new()).unwrap();
    assert!(message(neighbours.nearest(&none, 1)).contains("vectors must be vectors [N, D], at least one, got [0, 2]"));
    let error = KMeans::new(5).run(&references(), &known).unwrap_err().to_string();
    assert!(error.contains("clusters must be 1 to 4"), "{error}");
    let start = Some(whole_numbers(3, 2, 1));
    let error = KMeans { start, ..KMeans::new(2) }.run(&references(), &known).unwrap_err().to_string();
    assert!(error.contains("start must be [2, 2], got [3, 2]"), "{error}");
}

#[test]
fn classes_are_decided_by_vote_or_by_margin() {
    // Three of class 0 around one of class 1; a query at 0.9.
    let known = Tensor::new([5, 1], vec![0.0, 2.0, 3.0, 1.0, 9.0]).unwrap();
    let classes = [0, 0, 0, 1, 2];
    let queries = Tensor::new([3, 1], vec![0.9, 8.0, 2.5]).unwrap();
    for device in devices() {
        let of = |k, rule| Classifier::new(&device, &known, &classes, k, rule).unwrap().classify(&queries).unwrap();
        assert_eq!(of(1, Rule::Vote), [1, 2, 0]);
        assert_eq!(of(3, Rule::Vote), [0, 0, 0]);
        // Query 0.9: of class 1, 0.81 − 0.01; of class 0, 0.01 − 1.21. Query 8 with k = 2: of class 2, 25 − 1.
        assert_eq!(of(3, Rule::Margin)[0], 1);
        assert_eq!(of(2, Rule::Margin), [1, 2, 0]);
        // All of them, and no more.
        assert_eq!(of(99, Rule::Vote), [0; 3]);
    }
    let device = Device::open(&Select::Cpu).unwrap();
    let error = Classifier::new(&device, &known, &classes[1..], 1, Rule::Vote).unwrap_err().to_string();
    assert!(error.contains("classes must be 5, one for each known vector, got 4"), "{error}");
    assert!(Classifier::new(&device, &known, &classes, 0, Rule::Vote).is_err());
}

#[test]
fn partners_are_the_farthest_and_nearest_that_the_paper_names() {
    // Class 0 has the clusters {0, 1, 2} and {3, 4}; class 1 only {5, 6}, of the same number as one of class 0; class 2 is alone.
    let vectors = Tensor::new([8, 1], vec![0.0, 1.0, 3.0, 5.0, 8.0, 4.0, 20.0, -9.0]).unwrap();
    let (classes, clusters) = ([0, 0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 0, 0, 0]);
    for device in devices() {
        let all = Quintuplets::new(&device, &vectors, &classes, &clusters).unwrap();
        assert_eq!(all.partners[0], [2, 3, 4, 5]);
        assert_eq!(all.partners[3], [4, 2, 0, 5]);
        assert_eq!(all.partners[4], [3, 2, 0, 5]);
        assert_eq!((all.partners[5], all.weights[5]), ([6, 5, 6, 2], [0.0, 0.0, 1.0]));
        assert_eq!((all.partners[7], all.weights[7]), ([7, 7, 7, 0], [0.0; 3]));
        assert_eq!(all.weights[0], [1.0; 3]);
        assert_eq!(all, Quintuplets::among(&vectors, &classes, &clusters).unwrap());
        let (rows, weights) = all.batch(&[3, 5]).unwrap();
        assert_eq!(rows, [3, 5, 4, 6, 2, 5, 0, 6, 5, 2]);
        assert_eq!(weights.data(), [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        assert!(all.batch(&[8]).unwrap_err().to_string().contains("anchors must be below 8"));
        let error = Quintuplets::new(&device, &vectors, &classes[1..], &clusters).unwrap_err().to_string();
        assert!(error.contains("classes must be 8, one for each vector, got 7"), "{error}");
    }
}

#[test]
fn an_embedding_learns_from_quintuplets() {
    // Two classes of two clusters each, which alternate along a line, and a third of the vectors of the rarer class.
    let mut rng = Rng::new(11);
    let (mut values, mut classes, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..60 {
        let cluster = [0, 0, 1, 2, 2, 3][k % 6];
        values.extend([cluster as f64 + 0.2 * rng.normal(), rng.normal()].map(|v| v as f32));
        classes.push(cluster % 2);
        clusters.push(cluster);
    }
    let vectors = Tensor::new([60, 2], values).unwrap();
    for device in devices() {
        let all = Quintuplets::new(&device, &vectors, &classes, &clusters).unwrap();
        let anchors: Vec<usize> = (0..60).collect();
        let (rows, weights) = all.batch(&anchors).unwrap();
        let picked = rows.iter().flat_map(|row| &vectors.data()[2 * row..2 * row + 2]).copied().collect();
        let x = Tensor::new([300, 2, 1, 1], picked).unwrap();
        let network = device.network(Params::fresh(2), |g| {
            let f = g.input("x").dense("one", 16).relu().dense("two", 4).l2_normalize(L2Normalize::default());
            g.output("f", f);
            g.loss("loss", || f.quintuplet(g.input("m"), Quintuplet::default()));
        });
        let mut training = network.train(Optimizer::adam()).unwrap();
        let losses: Vec<f32> =
            (0..60).map(|_| training.step(0.02, &[("x", &x), ("m", &weights)]).unwrap().scalar("loss")).collect();
        assert!(losses[59] < 0.5 * losses[0], "{} to {}", losses[0], losses[59]);
    }
}

#[test]
fn principal_components_are_those_of_the_covariance() {
    let mut rng = Rng::new(5);
    let (n, d) = (400, 12);
    // Variances from 9 down to 0.04 along directions that are not the axes, far from zero.
    let basis: Vec<Vec<f64>> = (0..d).map(|_| (0..d).map(|_| rng.normal()).collect()).collect();
    let values = (0..n).flat_map(|_| {
        let weights: Vec<f64> = (0..d).map(|k| 3.0 * 0.7f64.powi(k) * rng.normal()).collect();
        (0..d as usize)
            .map(|i| (20.0 + basis.iter().zip(&weights).map(|(b, w)| b[i] * w).sum::<f64>()) as f32)
            .collect::<Vec<_>>()
    });
    let vectors = Tensor::new([n, d as usize], values.collect::<Vec<f32>>()).unwrap();
    let points = rows(&vectors);
    let mean: Vec<f64> = (0..d as usize).map(|i| points.iter().map(|p| p[i]).sum::<f64>() / n as f64).collect();
    let covariance =
        |i: usize, j: usize| points.iter().map(|p| (p[i] - mean[i]) * (p[j] - mean[j])).sum::<f64>() / n as f64;
    for device in devices() {
        let pca = Pca::new(&device, &vectors, 3).unwrap();
        let axes = rows(&pca.components);
        for (axis, variance) in axes.iter().zip(&pca.variances) {
            // The covariance scales its own vectors, by their variances.
            let image: Vec<f64> =
                (0..d as usize).map(|i| (0..d as usize).map(|j| covariance(i, j) * axis[j]).sum()).collect();
            let worst = image.iter().zip(axis).map(|(a, b)| (a - variance * b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4 * pca.variances[0], "{worst} {variance}");
            assert!((axis.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-6);
            assert!(axis.iter().fold(0.0f64, |most, v| if v.abs() > most.abs() { *v } else { most }) > 0.0);
        }
        assert!(pca.variances.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", pca.variances);
        // No direction that was left out varies as much: the sum of all variances is the trace.
        let trace: f64 = (0..d as usize).map(|i| covariance(i, i)).sum();
        let all = Pca::new(&device, &vectors, d as usize).unwrap();
        assert!((all.variances.iter().sum::<f64>() / trace - 1.0).abs() < 1e-5);
        assert!(all.variances.iter().zip(&pca.variances).all(|(a, b)| (a / b - 1.0).abs() < 1e-4));
        let flat = rows(&pca.transform(&vectors).unwrap());
        for (k, variance) in pca.variances.iter().enumerate() {
            let own = flat.iter().map(|p| p[k]);
            assert!(own.clone().sum::<f64>().abs() < 1e-2, "coordinates are from the mean");
            assert!((own.map(|v| v * v).sum::<f64>() / n as f64 / variance - 1.0).abs() < 1e-4);
        }
        for (wrong, word) in [(0, "k must be 1 to 12"), (13, "k must be 1 to 12")] {
            assert!(Pca::new(&device, &vectors, wrong).unwrap_err().to_string().contains(word));
        }
        let other = Tensor::new([1, 3], vec![0.0; 3]).unwrap();
        assert!(pca.transform(&other).unwrap_err().to_string().contains("must have 12 dimensions"));
        // A set without any variance still has directions.
        let flat = Pca::new(&device, &Tensor::filled([4, 3], 2.0), 2).unwrap();
        assert_eq!(flat.variances, [0.0; 2]);
    }
}
