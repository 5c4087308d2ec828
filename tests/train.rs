//! Training learns, repeats bit for bit, resumes bit for bit, and computes the same losses as ever.

mod common;

use lineament::graph::Init;
use lineament::image::{Channels, Picture, Samples};
use lineament::ops::loss::Reduction;
use lineament::rng::Rng;
use lineament::train::{Folder, Group, HYPER, Hooks, Job, Optimizer, Progress, Rule, Schedule, Training};
use lineament::vision::training::upscale::{self, Config, GroupConfig, Observer, train};
use lineament::{Device, Error, Graph, NodeId, Params, Result, Tensor, Weights, models};
use std::path::Path;

/// Writes eight pictures of smooth waves, so that enlarging them can be learnt.
fn pictures(folder: &Path) {
    for k in 0..8 {
        let mut rng = Rng::new(k);
        let waves: Vec<[f64; 3]> =
            (0..4).map(|_| [rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5), rng.uniform(0.0, 6.0)]).collect();
        let value = |i: usize, j: usize| {
            let sum: f64 = waves.iter().map(|[a, b, c]| (a * i as f64 + b * j as f64 + c).sin()).sum();
            (127.5 + 30.0 * sum) as u8
        };
        let samples = (0..40 * 48).map(|p| value(p / 48, p % 48)).collect();
        let picture = Picture::from_samples("wave", 48, 40, Channels::Grey, Samples::U8(samples)).unwrap();
        picture.save(folder.join(format!("{k}.png"))).unwrap();
    }
}

fn config(data: &Path, steps: u64) -> Config {
    Config {
        model: "fsrcnn-s".into(),
        scale: 2,
        data: data.to_owned(),
        steps,
        batch: 2,
        patch: 8,
        lr_steps: vec![6],
        seed: 3,
        checkpoint_every: 4,
        ..Config::default()
    }
}

fn run(
    config: &Config,
    device: &Device,
    out: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Progress) -> bool,
) -> Result<Weights> {
    let mut observer = Observer { tell: &mut |_| {}, validate: &mut |_| Ok(vec![]), step: observe, hold: &mut |_| {} };
    train(config, device, &upscale::folder(out, resume)?, resume, &mut observer)
}

fn losses(out: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].to_string();
    text.lines().map(loss).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_and_a_resumed_run_too() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let out = |name: &str| folder.path().join(name);
    let whole = |name: &str| {
        let weights = run(&config(&data, 10), &device, &out(name), false, &mut |_| true).unwrap();
        (losses(&out(name)), weights)
    };
    let (first, weights) = whole("a");
    assert_eq!((first.clone(), weights.tensors().clone()), {
        let (losses, weights) = whole("b");
        (losses, weights.tensors().clone())
    });

    // Stopped in step 6 by the user: the checkpoint is that of step 6.
    let c = out("c");
    let stopped = run(&config(&data, 10), &device, &c, false, &mut |p| p.step < 6);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let resumed = run(&config(&data, 10), &device, &c, true, &mut |_| true).unwrap();
    assert_eq!(losses(&c), first);
    assert_eq!(resumed.tensors(), weights.tensors());

    // Killed in step 7: the log is ahead of the checkpoint of step 4.
    let d = out("d");
    let checkpoint = d.join("last.safetensors");
    let saved = out("saved");
    let mut keep = |p: Progress| {
        if p.step == 5 {
            std::fs::copy(&checkpoint, &saved).unwrap();
        }
        p.step < 7
    };
    assert!(run(&config(&data, 10), &device, &d, false, &mut keep).is_err());
    std::fs::copy(&saved, &checkpoint).unwrap();
    run(&config(&data, 10), &device, &d, true, &mut |_| true).unwrap();
    assert_eq!(losses(&d), first);

    // Another run's checkpoint is refused.
    let other = Config { seed: 4, ..config(&data, 10) };
    let error = run(&other, &device, &d, true, &mut |_| true).unwrap_err().to_string();
    assert!(
        error.contains("d/last.safetensors") && error.contains("was made with seed 3, this run asks for 4"),
        "{error}"
    );
}

/// The steps before are saved, and the next run does the rest.
#[test]
fn a_validation_that_fails_loses_nothing() {
    let device = Device::open(&lineament::Select::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let out = |name: &str| folder.path().join(name);
    let config = Config { val: data.clone(), val_every: 3, checkpoint_every: 100, ..config(&data, 7) };
    // Fails from the `fail`-th validation on. Returns the steps after which there was one, and when steps were unsaved.
    let trained = |name: &str, resume: bool, fail: usize| {
        let (mut validated, mut held, mut step) = (0, Vec::new(), 0);
        let mut validate = |_: &Weights| {
            validated += 1;
            match validated < fail {
                true => Ok(vec![("psnr", 30.0 - validated as f64)]),
                false => Err(Error::Usage("the picture is gone".into())),
            }
        };
        let mut observer = Observer {
            tell: &mut |_| {},
            validate: &mut validate,
            step: &mut |p| {
                step = p.step;
                true
            },
            hold: &mut |is| held.push(is),
        };
        let result = train(&config, &device, &upscale::folder(&out(name), resume).unwrap(), resume, &mut observer);
        assert_eq!(held.last(), Some(&false), "steps were not saved");
        (result.map_err(|e| e.to_string()), step)
    };
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(out(name).join("log.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let told = |name: &str| -> Vec<String> {
        lines(name).iter().map(|l| format!("{} {} {}", l["step"], l["loss"], l["val_psnr"])).collect()
    };
    let whole = trained("whole", false, 9).0.unwrap();
    let (error, step) = trained("failed", false, 2);
    assert_eq!(step, 6);
    let kept = format!("step 6 is saved in {}; continue with --resume", out("failed/last.safetensors").display());
    assert_eq!(error.unwrap_err(), format!("the picture is gone; {kept}"));
    assert_eq!(told("failed")[..7], told("whole")[..7]);
    let resumed = trained("failed", true, 9).0.unwrap();
    // The references keep f64 between steps, a checkpoint keeps f32; an adapter gives the same bits (tests/cli.rs).
    assert!(resumed.tensors().keys().eq(whole.tensors().keys()));
    for (name, tensor) in resumed.tensors() {
        let pairs = tensor.data().iter().zip(whole.tensors()[name].data());
        // A lost step would be about the learning rate, 1e-3.
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs())), "{name}");
    }
    let steps = |name: &str, key: &str| -> Vec<u64> {
        lines(name).iter().filter(|l| !l[key].is_null()).map(|l| l["step"].as_u64().unwrap()).collect()
    };
    for (key, expected) in [("loss", vec![1, 2, 3, 4, 5, 6, 7]), ("val_psnr", vec![3, 6, 7])] {
        assert_eq!((steps("failed", key), steps("whole", key)), (expected.clone(), expected), "{key}");
    }
    // The first validation was the best.
    for name in ["failed", "whole"] {
        let best = Weights::open(out(name).join("best.safetensors")).unwrap();
        assert_eq!(best.manifest()["steps"], "3");
    }
}

#[test]
fn srcnn_is_trained_on_the_pixels_that_no_border_reaches() {
    let cpu = Device::open(&lineament::Select::Cpu).unwrap();
    let model = models::SuperResolution::new("srcnn-9-3-5", 2).unwrap();
    let cut = model.cut_px();
    let result = |valid: bool| {
        let mut g = Graph::new();
        let x = g.input("x", [2, 1, 17, 19]).unwrap();
        let y = if valid { model.build_for_training(&mut g, x) } else { model.build(&mut g, x) }.unwrap();
        let weights = g.initialize_by("xavier".parse().unwrap(), 5);
        let mut rng = Rng::new(2);
        let x = Tensor::new([2, 1, 17, 19], (0..2 * 17 * 19).map(|_| rng.unit() as f32).collect()).unwrap();
        cpu.compile(&g, &[y], weights).unwrap().run(&[("x", &x)]).unwrap().swap_remove(0)
    };
    let (whole, valid) = (result(false), result(true));
    assert_eq!(valid.shape(), [2, 1, 17 - 2 * cut, 19 - 2 * cut]);
    let rows = whole.data().chunks(19).enumerate().filter(|(row, _)| (cut..17 - cut).contains(&(row % 17)));
    let inner: Vec<f32> = rows.flat_map(|(_, row)| row[cut..19 - cut].to_vec()).collect();
    assert_eq!(valid.data(), inner);

    // The smallest patch leaves the target one or two pixels; a smaller patch is refused.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let config = |patch| Config { model: "srcnn".into(), patch, ..config(&data, 2) };
    let out = folder.path().join("run");
    let error = run(&config(6), &cpu, &out, false, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("--patch 6 is too small") && error.contains("give 7 or more"), "{error}");
    let Some(device) = common::device() else { return };
    run(&config(7), &device, &out, false, &mut |p| p.loss.is_finite()).unwrap();
}

/// Trains fsrcnn-s x2 on eight fixed patches and returns the losses of `steps` steps.
fn fixed_run(device: &Device, steps: u64, optimizer: Optimizer, lr: f64) -> Vec<f32> {
    let mut g = Graph::new();
    let x = g.input("x", [8, 1, 6, 7]).unwrap();
    let t = g.input("t", [8, 1, 12, 14]).unwrap();
    let y = models::fsrcnn::build(&mut g, x, &models::fsrcnn::Config::small(2)).unwrap();
    let loss = g.mse(y, t, Reduction::Mean).unwrap();
    let rule = Rule::from(optimizer);
    let step = rule.minimize(&mut g, loss).unwrap();
    let session = device.compile(&g, &step.fetches, g.initialize(5)).unwrap();
    let mut rng = Rng::new(9);
    let mut draw = |shape: [usize; 4]| {
        Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.unit() as f32).collect()).unwrap()
    };
    let (x, t) = (draw([8, 1, 6, 7]), draw([8, 1, 12, 14]));
    let step = |k| session.run(&[("x", &x), ("t", &t), (HYPER, &rule.hyper(lr, k))]).unwrap()[0].data()[0];
    (1..=steps).map(step).collect()
}

#[test]
fn eight_pictures_are_learnt_by_heart() {
    let Some(device) = common::device() else { return };
    let losses = fixed_run(&device, 400, Optimizer::adam(), 5e-3);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.2 * first, "{first} only fell to {last}");
}

/// The losses of the first ten steps, from the f64 references; f32 kernels follow them to a few parts in 10⁵.
#[test]
fn ten_losses_are_what_they_were() {
    for (optimizer, lr, expected) in [(Optimizer::adam(), 1e-3, ADAM), (Optimizer::sgd(0.9), 1e-2, SGD)] {
        let devices = [Some(Device::open(&lineament::Select::Cpu).unwrap()), common::device()];
        for device in devices.into_iter().flatten() {
            let losses = fixed_run(&device, 10, optimizer, lr);
            for (got, expected) in losses.iter().zip(expected) {
                assert!((got - expected).abs() <= 3e-5 * expected, "{} {optimizer:?}: {losses:?}", device.describe());
            }
        }
    }
}

#[test]
fn threads_and_memory_do_not_change_the_data_and_a_lost_picture_stops_the_run() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let out = |name: &str| folder.path().join(name);
    run(&Config { threads: 1, ..config(&data, 40) }, &device, &out("one"), false, &mut |_| true).unwrap();
    let bare = Config { threads: 3, cache_mib: 0, ..config(&data, 40) };
    run(&bare, &device, &out("three"), false, &mut |_| true).unwrap();
    let expected = losses(&out("one"));
    assert_eq!(losses(&out("three")), expected);

    // One picture disappears after step 5. Batches made ahead are still used, and the state of the last good step is kept.
    let (picture, aside) = (data.join("3.png"), out("3.png"));
    let mut lose = |p: Progress| {
        if p.step == 5 {
            std::fs::rename(&picture, &aside).unwrap();
        }
        true
    };
    let error = run(&bare, &device, &out("lost"), false, &mut lose).unwrap_err().to_string();
    assert!(error.contains("data/3.png: there is no such file"), "{error}");
    let done = losses(&out("lost"));
    assert!(done.len() >= 5 && done.len() < 40 && expected.starts_with(&done), "{done:?}");
    let kept = format!("step {} is saved in {}; continue with", done.len(), out("lost/last.safetensors").display());
    assert!(error.contains(&kept), "{error}");
    let checkpoint = Weights::open(out("lost/last.safetensors")).unwrap();
    assert_eq!(checkpoint.manifest()["step"], done.len().to_string());
    let error = run(&bare, &device, &out("lost"), true, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("lost/last.safetensors: was made with other data: a file was added, changed"), "{error}");
    std::fs::rename(&aside, &picture).unwrap();
    run(&bare, &device, &out("lost"), true, &mut |_| true).unwrap();
    assert_eq!(losses(&out("lost")), expected);
}

/// Returns the resident memory of this process, if the system tells.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = pages.lines().find(|line| line.starts_with("Rss:"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

/// LINEAMENT_MEMORY_STEPS sets the number of steps.
#[test]
fn memory_does_not_grow_with_the_steps() {
    let Some(device) = common::device() else { return };
    if resident_bytes().is_none() {
        eprintln!("SKIPPED (no /proc/self/smaps_rollup)");
        return;
    }
    let steps = std::env::var("LINEAMENT_MEMORY_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(600);
    // Short loops, such as those of `linear` over a batch of 4, would not test this: lavapipe (Mesa 22.3.6) inlines a uniform's
    // value into a shader if that halves it, compiles it anew for every dispatch, and keeps all versions.
    let network = device.network(Params::fresh(1), |g| {
        let build = |g: &mut Graph, x: &[NodeId]| models::fsrcnn::build(g, x[0], &models::fsrcnn::Config::small(2));
        let y = g.graph(&[g.input("x")], build);
        g.output("y", y);
        g.loss("error", || y.mse(g.input("t"), Reduction::Mean));
    });
    let mut training = network.train(Rule { ema: 0.9, ..Rule::from(Optimizer::adam()) }).unwrap();
    let every = steps / 10;
    let job = Job { checkpoint_every: every, val_every: every, ..Job::new(steps, Schedule::constant(1e-3)) };
    let folder = tempfile::tempdir().unwrap();
    let mut batch = |k: u64| {
        let mut rng = Rng::new(k);
        let mut draw =
            |shape: [usize; 4]| Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.unit() as f32).collect());
        Ok(vec![("x", draw([2, 1, 9, 10])?), ("t", draw([2, 1, 18, 20])?)])
    };
    let mut seen = Vec::new();
    let mut observe = |p: Progress| {
        // From half of the steps on, the curve has its full number of points. Each tenth has a checkpoint and a validation.
        if p.step >= p.steps / 2 && p.step.is_multiple_of(p.steps / 10) {
            seen.push(resident_bytes().unwrap());
        }
        true
    };
    // The averages at another batch size, on the device.
    let held_out = Tensor::filled([1, 1, 9, 10], 0.5);
    let mut validate = |training: &Training| {
        let y = training.averaged()?.run(&[("x", &held_out)])?;
        Ok(vec![("something", f64::from(y["y"].data()[0]))])
    };
    let mut hooks = Hooks { validate: &mut validate, observe: &mut observe, ..Hooks::new(&mut batch) };
    training.run(&job, &Folder::create(folder.path(), "test").unwrap(), &mut hooks).unwrap();
    let grown: Vec<u64> = seen.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
    println!("{steps} steps: {} bytes after half of them, then {grown:?} more", seen[0]);
    // Leaks per step or checkpoint show in every tenth; now and then the heap grows by a MiB or two, but not repeatedly.
    // A leak of a KiB per step would exceed this.
    let least = grown.iter().min().unwrap();
    assert!(*least < 1024 * steps / 10, "each tenth of {steps} steps takes {least} bytes or more: {grown:?}");
}

/// Fits a line through points: w and b, initially 0, follow f64 arithmetic step by step.
#[test]
fn groups_clipping_and_average_are_what_they_say() {
    let (n, lr, clip, ema) = (4, 0.1, 0.5, 0.75);
    let rule = Rule {
        groups: vec![
            Group { pattern: "b*".into(), lr: 0.5, weight_decay: 0.0 },
            Group { pattern: "frozen".into(), lr: 0.0, weight_decay: 1.0 },
        ],
        clip,
        ema,
        ..Rule::from(Optimizer::Sgd { momentum: 0.5, weight_decay: 0.2 })
    };
    let devices = [Some(Device::open(&lineament::Select::Cpu).unwrap()), common::device()];
    for device in devices.into_iter().flatten() {
        let mut g = Graph::new();
        let x = g.input("x", [n, 1, 1, 1]).unwrap();
        let t = g.input("t", [n, 1, 1, 1]).unwrap();
        let frozen = g.param("frozen", [1, 1, 1, 1], Init::Constant(2.0)).unwrap();
        let zero = g.constant("zero", Tensor::zeros([1, 1, 1, 1])).unwrap();
        let w = g.param("w", [1, 1, 1, 1], Init::Constant(0.0)).unwrap();
        let b = g.param("b", [1, 1, 1, 1], Init::Constant(0.0)).unwrap();
        let x = g.linear(x, frozen, zero).unwrap();
        let y = g.linear(x, w, b).unwrap();
        let loss = g.mse(y, t, Reduction::Mean).unwrap();
        let step = rule.minimize(&mut g, loss).unwrap();
        let session = device.compile(&g, &step.fetches, g.initialize(1)).unwrap();
        let updates = session.plan().steps.iter().filter(|s| ["sgd", "ema"].contains(&s.op)).count();
        assert_eq!(updates, 2, "{}", session.plan());
        let points = [-1.0, 0.5, 1.0, 2.0];
        let target = |x: f64| 3.0 * x - 1.0;
        let tensor = |f: &dyn Fn(f64) -> f64| Tensor::new([n, 1, 1, 1], points.map(|x| f(x) as f32).to_vec()).unwrap();
        let (xs, ts) = (tensor(&|x| x), tensor(&target));

        let [mut value, mut velocity, mut average] = [[0.0f64; 2]; 3];
        for k in 1..=5u64 {
            let outputs = session.run(&[("x", &xs), ("t", &ts), (HYPER, &rule.hyper(lr, k))]).unwrap();
            let mut gradient = [0.0; 2];
            for x in points {
                let d = 2.0 / n as f64 * (value[0] * 2.0 * x + value[1] - target(x));
                gradient = [gradient[0] + d * 2.0 * x, gradient[1] + d];
            }
            let norm = gradient[0].hypot(gradient[1]);
            let factor = (f64::from(clip) / norm).min(1.0);
            let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-5 * (1.0 + b.abs());
            assert!(close(outputs[1].data()[0], factor) && close(outputs[1].data()[1], norm), "{outputs:?}");
            let kept = ema.min(1.0 - 1.0 / k as f64);
            for i in 0..2 {
                let (rate, decay) = ([1.0, 0.5][i] * lr, [0.2, 0.0][i]);
                velocity[i] = 0.5 * velocity[i] + factor * gradient[i] + decay * value[i];
                value[i] -= rate * velocity[i];
                average[i] = kept * average[i] + (1.0 - kept) * value[i];
            }
            let now = session.weights().unwrap();
            let averaged = step.weights(&g, &session.state().unwrap()).unwrap();
            for (i, name) in ["w", "b"].into_iter().enumerate() {
                let (got, mean) = (now.get(name).unwrap().data()[0], averaged.get(name).unwrap().data()[0]);
                assert!(close(got, value[i]) && close(mean, average[i]), "step {k} {name}: {got} {}", value[i]);
            }
            assert_eq!(averaged.get("frozen").unwrap().data(), [2.0]);
        }
    }
}

#[test]
fn a_loss_that_is_no_number_names_the_layer_and_leaves_the_checkpoint() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let out = folder.path().join("run");
    let first = Config { steps: 4, ..config(&data, 4) };
    run(&first, &device, &out, false, &mut |_| true).unwrap();
    let before = std::fs::read(out.join("last.safetensors")).unwrap();
    // A weight so large that its layer overflows.
    let mut broken = Weights::open(out.join("last.safetensors")).unwrap();
    let mut tensors = broken.tensors().clone();
    tensors.get_mut("shrink.w").unwrap().data_mut().fill(3e38);
    let manifest = broken.manifest().clone();
    broken = Weights::from_tensors(tensors);
    manifest.iter().for_each(|(key, value)| broken.set_manifest(key, value));
    broken.save(out.join("last.safetensors")).unwrap();
    let error = run(&config(&data, 9), &device, &out, true, &mut |_| true).unwrap_err().to_string();
    // An activation may turn a NaN into 0, so that the loss is a number and only the gradients show it.
    assert!(
        error.starts_with("step 5: the loss is") || error.starts_with("step 5: the norm of the gradients is"),
        "{error}"
    );
    assert!(error.contains("the first layer whose value is not finite is shrink"), "{error}");
    assert!(error.contains("run/last.safetensors holds the last good state"), "{error}");
    assert_ne!(std::fs::read(out.join("last.safetensors")).unwrap(), before);
    assert_eq!(Weights::open(out.join("last.safetensors")).unwrap().tensors(), broken.tensors());
    assert_eq!(losses(&out).len(), 4);
}

#[test]
fn other_weights_are_a_beginning() {
    let Some(device) = common::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let given = run(&config(&data, 3), &device, &a, false, &mut |_| true).unwrap();
    let init = folder.path().join("given.safetensors");
    given.save(&init).unwrap();
    // Scale 3 from scale 2: only the deconvolution is new, and only it is trained.
    let second = Config {
        scale: 3,
        init,
        init_skip: vec!["deconv.*".into()],
        group: [("deconv.*", 1.0), ("*", 0.0)]
            .map(|(parameters, lr)| GroupConfig { parameters: parameters.into(), lr, weight_decay: 1.0 })
            .into(),
        ..config(&data, 3)
    };
    let mut said = Vec::new();
    let out = Folder::create(&b, "upscale").unwrap();
    let mut observer = Observer {
        tell: &mut |text: &str| said.push(text.to_owned()),
        validate: &mut |_| Ok(vec![]),
        step: &mut |_| true,
        hold: &mut |_| {},
    };
    let trained = train(&second, &device, &out, false, &mut observer).unwrap();
    assert_eq!(said, ["initialised anew: deconv.w, deconv.b"]);
    for (name, tensor) in trained.tensors() {
        assert_eq!(given.get(name).unwrap() == tensor, !name.starts_with("deconv"), "{name}");
    }
}

const ADAM: [f32; 10] = [
    0.31605548, 0.25217813, 0.19305943, 0.14450249, 0.11626969, 0.11712237, 0.13706292, 0.14647669, 0.13935384,
    0.12448031,
];
const SGD: [f32; 10] = [
    0.31605548,
    0.28417137,
    0.23218527,
    0.17465457,
    0.12630066,
    0.101785414,
    0.10995687,
    0.13832723,
    0.15272428,
    0.13659623,
];
