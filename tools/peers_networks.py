"""Times networks of any origin in lineament, ONNX Runtime (CPU) and ncnn (CPU, Vulkan), in turn, and prints a Markdown table.

usage: peers_networks.py LINEAMENT FOLDER ROUNDS NETWORK...   (tools/peers --network calls it)

A NETWORK is an ONNX file or an ncnn .param, followed by @WxH if the file leaves the size open. pnnx, if the environment has it, makes
ncnn's file of an ONNX network. Each measurement is a process of its own: two warm-up runs, then at least five runs and a second. A cell
is the lowest of the rounds' medians; "-" is what a program cannot run."""
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np


def timed(forward):
    forward(), forward()
    ms, begin = [], time.perf_counter()
    while len(ms) < 5 or time.perf_counter() - begin < 1:
        start = time.perf_counter()
        forward()
        ms.append(1e3 * (time.perf_counter() - start))
    return statistics.median(ms)


def inputs_of(session, size):
    for port in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else None for d in port.shape]
        if len(shape) == 4 and size:
            shape[2:] = [size[1], size[0]]
        yield port.name, np.random.default_rng(0).random([d or 1 for d in shape], dtype=np.float32)


def onnxruntime(path, size, _):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = dict(inputs_of(session, size))
    return timed(lambda: session.run(None, given))


def ncnn(path, size, use_vulkan):
    import ncnn as module
    net = module.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = 2, use_vulkan
    # As ncnn comes, but for f16, which other programs do not use either.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(path) or net.load_model(str(pathlib.Path(path).with_suffix(".bin"))):
        raise RuntimeError("not read")
    x = np.random.default_rng(0).random((3, size[1], size[0]), dtype=np.float32)
    # Kept here, because ncnn's Python module crashes if they are asked for in every run.
    first, outputs = net.input_names()[0], net.output_names()

    def forward():
        extractor = net.create_extractor()
        extractor.input(first, module.Mat(x).clone())
        for name in outputs:
            code, y = extractor.extract(name)
            if code:
                raise RuntimeError("not run")
            np.array(y)
    return timed(forward)


def lineament(binary, path, size):
    command = [binary, "bench", path, "--json", "--quiet", *(["--size", f"{size[0]}x{size[1]}"] if size else [])]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return {"median_ms": row["median_ms"], "peak_bytes": row["peak_bytes"], "allocated_bytes": row["allocated_bytes"]}


def for_ncnn(path, folder):
    """Returns ncnn's file of a network, made by pnnx if need be, and the size of its input; or None."""
    if path.suffix == ".param":
        return path, None
    import onnx
    made = folder / path.name
    made.write_bytes(path.read_bytes())
    dims = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    if len(dims) != 4 or not all(dims):
        return None
    pnnx = pathlib.Path(sys.executable).with_name("pnnx")
    if not pnnx.exists():
        return None
    shape = "inputshape=[" + ",".join(map(str, dims)) + "]"
    subprocess.run([pnnx, made, shape, "fp16=0"], capture_output=True, cwd=folder, check=False)
    param = made.with_suffix(".ncnn.param")
    return (param, (dims[3], dims[2])) if param.exists() else None


def main():
    if sys.argv[1] == "--one":
        peer, path, size = sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
        run = onnxruntime if peer == "ort" else ncnn
        print("ms", run(path, size, peer == "ncnn-vulkan"))
        return
    binary, folder, rounds, networks = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["ort", "ncnn", "ncnn-vulkan"]
    print("| network | ours | ONNX Runtime CPU | ncnn CPU | ncnn Vulkan | ours / ORT | ncnn Vulkan / ours | predicted / allocated |")
    print("|" + "---|" * 8)
    table = []
    for network in networks:
        name, _, size = network.partition("@")
        path, size = pathlib.Path(name), [int(v) for v in size.split("x")] if size else None
        converted = for_ncnn(path, folder)
        row, ours = {"network": path.stem}, []
        for _ in range(rounds):
            ours.append(lineament(binary, name, size))
            for peer in columns:
                file, its_size = (path, size) if peer == "ort" else converted or (None, None)
                if file is None or (peer == "ort" and path.suffix != ".onnx"):
                    continue
                one = [sys.executable, __file__, "--one", peer, str(file), json.dumps(size or its_size)]
                out = subprocess.run(one, capture_output=True, text=True)
                ms = [float(line.split()[1]) for line in out.stdout.splitlines() if line.startswith("ms ")]
                if ms:
                    row[peer] = min(ms[0], row.get(peer, ms[0]))
        best = min(ours, key=lambda run: run["median_ms"])
        row.update(best, ours=best["median_ms"])
        table.append(row)
        ratio = lambda a, b: f"{row[a] / row[b]:.2f}" if a in row and b in row else "-"
        memory = f"{row['peak_bytes'] / row['allocated_bytes']:.3f}" if row["allocated_bytes"] else "-"
        cells = [f"{row[key]:.2f} ms" if key in row else "-" for key in ["ours", *columns]]
        print("| " + " | ".join([path.stem, *cells, ratio("ours", "ort"), ratio("ncnn-vulkan", "ours"), memory]) + " |", flush=True)
    (folder / "networks.json").write_text(json.dumps(table, indent=1) + "\n")
    print(f"\nsaved {folder / 'networks.json'}")


main()
