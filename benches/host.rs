//! Times the host's work around the kernels: planning, reflecting, packing, resizing, decoding.
//!
//!     cargo bench --bench host
//!     cargo bench --bench host -- --test           # runs each once, to check that it works

use criterion::{Criterion, criterion_group, criterion_main};
use lineament::ops::resize::{Kernel, Resize};
use lineament::ops::{Call, Caps, Case, Io, registry};
use lineament::plan::{Options, Plan};
use lineament::shader::Shader;
use lineament::{Graph, Picture, models};
use std::hint::black_box;

/// Returns the first real layer of an operation.
fn real(name: &str) -> Case {
    let operation = registry().into_iter().find(|r| r.name == name).expect("the operation is built in");
    (operation.cases)().into_iter().find(|c| c.real).expect("every operation has a real layer")
}

fn planning(c: &mut Criterion) {
    let build = || {
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, 256, 256]).unwrap();
        let y = models::fsrcnn::build(&mut g, x, &models::fsrcnn::Config::paper(3)).unwrap();
        (g, y)
    };
    c.bench_function("graph: build FSRCNN x3", |b| b.iter(build));
    // Dispatches are limited as for an adapter of realistic speed.
    let mut options = Options::default();
    options.caps.flops_per_second = 1e12;
    let (g, y) = build();
    c.bench_function("plan: FSRCNN x3, 256x256", |b| b.iter(|| Plan::new(black_box(&g), &[y], &options).unwrap()));
}

fn shaders(c: &mut Criterion) {
    let case = real("conv2d");
    let kernel = case.op.kernels()[0];
    let source = &kernel.source;
    c.bench_function("shader: reflect conv2d", |b| b.iter(|| Shader::new(black_box(source)).unwrap()));
    let shader = Shader::new(source).unwrap();
    let io = Io { x: &case.x, y: case.op.shape(&case.x).unwrap() };
    c.bench_function("shader: serve and pack conv2d.forward", |b| {
        b.iter(|| {
            let call = Call::new(&*case.op, "forward", &["forward"], black_box(io));
            let work = kernel.serve(&call, &Caps::default()).unwrap();
            shader.pack_params("forward", &work.passes[0]).unwrap()
        })
    });
}

fn pictures(c: &mut Criterion) {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/astronaut.png")).unwrap();
    let picture = Picture::decode(&bytes, "astronaut.png").unwrap();
    let (width, height) = (picture.width(), picture.height());
    let mut group = c.benchmark_group("picture");
    group.sample_size(10);
    group.bench_function(format!("decode {width}x{height} PNG"), |b| {
        b.iter(|| Picture::decode(black_box(&bytes), "astronaut.png").unwrap())
    });
    let enlarge = Resize::by(Kernel::Bicubic, 3, 1);
    group.bench_function(format!("bicubic x3 of {width}x{height} RGB"), |b| {
        b.iter(|| black_box(&picture).resize(&enlarge).unwrap())
    });
    group.finish();
}

criterion_group!(benches, planning, shaders, pictures);
criterion_main!(benches);
