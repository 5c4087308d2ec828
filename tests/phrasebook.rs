//! Every line of docs/phrasebook.md's last column occurs here, so it compiles; and it runs.

mod common;

use lineament::ops::dropout::Dropout;
use lineament::ops::softmax::Softmax;
use lineament::prelude::*;

/// A network that uses each phrase for values, of inputs x `[2, 3, 4, 4]`, words `[2, 5]` and labels `[2]`.
fn net(g: &Draft) {
    let x = g.input("x");
    let y = x.conv("conv1", 16, 3, Conv2d::same(3)).relu();
    let scores = y.max_pool(2).dense("head", 10).reshape([x.shape()[0], 10]);
    g.output("scores", scores);
    g.loss("loss", || {
        let labels = g.input("labels");
        scores.cross_entropy(labels, Reduction::Mean)
    });
}

#[rustfmt::skip]
fn phrases(g: &Draft) {
    let x = g.input("x");
    let (a, b) = (x, x.relu());
    let y = x.batch_norm("norm");
    let more = [
        x.dense("head", 10), x.max_pool(2), x.dropout(Dropout { p: 0.5, seed: 1 }), (a + b) * 0.5, x.pointwise("silu"),
        x.pointwise_with("clamp", &[0.0, 6.0]), a.max(b), a.compare(b, "less").select(a, b), x.reshape([2, 48]),
        x.permute(&[0, 2, 3, 1]), x.narrow(1, 1, 2), a.concat(&[b], 1), x.mean(&[2, 3]), x.arg_max(1),
        x.softmax(Softmax { axis: 1, log: false }), a.matmul(b),
    ];
    let i = g.input("i");
    g.output("embedded", i.embedding("words", 100, 16));
    g.output("normalised", y);
    for (k, value) in more.into_iter().enumerate() {
        g.output(&format!("{k}"), value);
    }
}

#[test]
fn every_phrase_runs() -> Result<()> {
    let device = Device::open(&Select::Cpu)?;
    if common::device().is_some() {
        assert!(!Device::open(&Select::Default)?.is_cpu());
    }
    let data = vec![0.5; 6];
    assert_eq!(Tensor::new([2, 3], data)?.shape(), [2, 3]);
    let words = Tensor::new([2, 5], vec![7u32; 10])?;
    let x = Tensor::filled([2, 3, 4, 4], 0.5);
    let out = device.network(Params::fresh(1), phrases).run(&[("x", &x), ("i", &words)])?;
    let shapes = ["embedded", "12", "13"].map(|name| out[name].shape().to_vec());
    assert_eq!(shapes, [vec![2, 5, 16], vec![2, 3], vec![2, 4, 4]]);
    let labels = Tensor::new([2], vec![1u32, 3])?;
    let network = device.network(Params::fresh(1), net);
    drop(network.train(Rule { clip: 1.0, ..Rule::from(Optimizer::adam()) })?);
    let mut training = network.train(Optimizer::adamw(0.01))?;
    let before = training.step(1e-3, &[("x", &x), ("labels", &labels)])?.scalar("loss");
    assert!(training.plan(&[("x", &x).into(), ("labels", &labels).into()])?.peak_bytes() > 0);
    training.freeze("conv*")?;
    assert!(training.step(1e-3, &[("x", &x), ("labels", &labels)])?.scalar("loss") < before);
    let path = tempfile::tempdir().unwrap().keep().join("w.safetensors");
    training.weights()?.save(&path)?;
    let learned = network.run(&[("x", &x)])?;
    for opened in
        [device.network(Weights::open(&path)?, net), device.network(Params::partial(Weights::open(&path)?, 1), net)]
    {
        assert_eq!(opened.run(&[("x", &x)])?["scores"].shape(), learned["scores"].shape());
    }
    assert_eq!(network.fetch(&["conv1.relu"], &[("x", &x)])?["conv1.relu"].shape(), [2, 16, 4, 4]);
    assert!(network.to_onnx(&[("x", &x).into()])?.len() > 1000);
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    Ok(())
}

/// Returns text without spaces and line breaks, so that the formatter may break lines.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace(",)", ")").replace(",}", "}")
}

#[test]
fn every_phrase_is_compiled() {
    let page = include_str!("../docs/phrasebook.md");
    let code = squeezed(include_str!("phrasebook.rs"));
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" |").collect();
        let last = cells.last().unwrap().trim().trim_matches('`');
        assert_eq!(cells.len(), 6, "{row}");
        assert!(code.contains(&squeezed(last)), "tests/phrasebook.rs lacks {last}");
    }
}
