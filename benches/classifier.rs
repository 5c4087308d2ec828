//! A classifier of 60,000 parameters beside PyTorch, in turns: its training step, its inference, and a network of ten scalars, which
//! costs what a run costs at least.
//!
//! `cargo bench --bench classifier` times lineament alone;
//! `LINEAMENT_TORCH_PYTHON=/path/to/python cargo bench --bench classifier` also times PyTorch with two threads.

use lineament::prelude::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

const BATCH: usize = 64;

/// Rounds, and runs in each of them.
const ROUNDS: usize = 5;
const RUNS: usize = 5;

/// Reads the name of a case per line, and answers with the median time of its runs in milliseconds.
const PYTHON: &str = r#"
import statistics, sys, time
import torch
from torch import nn
torch.set_num_threads(2)
torch.manual_seed(1)

def net(pools):
    layers, c = [], 3
    for k in (16, 32, 64):
        layers += [nn.Conv2d(c, k, 3, padding=1, stride=1 if pools else 2), nn.ReLU()] + ([nn.MaxPool2d(2)] if pools else [])
        c = k
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, 40))

x, t = torch.full((64, 3, 64, 64), 0.3), torch.full((64, 40), 0.5)
cases = {}
for name, pools in (("pools", True), ("strides", False)):
    model = net(pools)
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    def step(model=model, adam=adam):
        adam.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), t)
        loss.backward()
        adam.step()
        return loss.item()
    def run(model=model):
        with torch.no_grad():
            return model(x).numpy()
    cases[name + " step"], cases[name + " run"] = step, run
ten = torch.full((10,), 0.3)
cases["ten scalars run"] = lambda: (ten + 1.0).numpy()
for case in cases.values():
    case()
print(torch.__version__, flush=True)
for line in sys.stdin:
    name, runs = line.rsplit(maxsplit=1)
    times = []
    for _ in range(int(runs)):
        begin = time.perf_counter()
        cases[name]()
        times.append(1e3 * (time.perf_counter() - begin))
    print(statistics.median(times), flush=True)
"#;

fn classifier(g: &Draft, has_pools: bool) {
    let mut x = g.input("x");
    for (layer, channels) in [("conv1", 16), ("conv2", 32), ("conv3", 64)] {
        let op = if has_pools { Conv2d::same(3) } else { Conv2d { stride: [2, 2], ..Conv2d::same(3) } };
        x = x.conv(layer, channels, 3, op).relu();
        x = if has_pools { x.max_pool(2) } else { x };
    }
    let logits = x.dense("head", 40);
    g.output("logits", logits);
    g.loss("loss", || logits.bce_with_logits(g.input("t"), Reduction::Mean));
}

/// PyTorch in a process that waits for requests.
struct Peer {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str) -> Peer {
        let mut command = Command::new(python);
        let mut process =
            command.args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let requests = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut peer = Self { process, requests, answers };
        println!("PyTorch {}", peer.answer());
        peer
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim().to_owned()
    }

    fn ms(&mut self, case: &str, runs: usize) -> f64 {
        writeln!(self.requests, "{case} {runs}").expect("a request");
        self.answer().parse().expect("a time")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One case: its name and what it runs.
type Case<'a> = (String, Box<dyn FnMut() -> Result<()> + 'a>);

fn main() -> Result<()> {
    // `cargo test --benches` only compiles it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let device = Device::open(&Select::Default)?;
    println!("{}", device.describe());
    let (x, t) = (Tensor::filled([BATCH, 3, 64, 64], 0.3), Tensor::filled([BATCH, 40, 1, 1], 0.5));
    let ten = &Tensor::filled([10], 0.3);
    let mut cases: Vec<Case> = Vec::new();
    for (name, has_pools) in [("pools", true), ("strides", false)] {
        let network = device.network(Params::fresh(1), move |g: &Draft| classifier(g, has_pools));
        let mut training = network.train(Optimizer::adam())?;
        let (x, t) = (&x, &t);
        let step = move || training.step(1e-3, &[("x", x), ("t", t)]).map(drop);
        cases.push((format!("{name} step"), Box::new(step)));
        let still = device.network(Params::fresh(1), move |g: &Draft| classifier(g, has_pools));
        cases.push((format!("{name} run"), Box::new(move || still.run(&[("x", x)]).map(drop))));
    }
    let scalars = device.network(Params::fresh(1), |g| g.output("y", g.input("x") + 1.0));
    cases.push(("ten scalars run".into(), Box::new(move || scalars.run(&[("x", ten)]).map(drop))));
    for (_, case) in &mut cases {
        case()?;
        case()?;
    }
    let mut peer = std::env::var("LINEAMENT_TORCH_PYTHON").ok().map(|python| Peer::start(&python));
    println!("{:>16} {:>12} {:>12} {:>8}", "", "lineament ms", "PyTorch ms", "ratio");
    for (name, case) in &mut cases {
        let runs = if name.starts_with("ten") { 200 } else { RUNS };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut times = Vec::with_capacity(runs);
            for _ in 0..runs {
                let begin = Instant::now();
                case()?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            ours.push(median(times));
            theirs.extend(peer.as_mut().map(|peer| peer.ms(name, runs)));
        }
        let ours = median(ours);
        if theirs.is_empty() {
            println!("{name:>16} {ours:>12.3}");
        } else {
            let theirs = median(theirs);
            println!("{name:>16} {ours:>12.3} {theirs:>12.3} {:>8.2}", ours / theirs);
        }
    }
    Ok(())
}
