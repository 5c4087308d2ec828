"""Writes tests/golden_ncnn.json: small networks of one or a few layers, inputs, and what ncnn makes of them.

usage: python golden_ncnn.py OUT.json        needs PyPI ncnn (made with 1.0.20261020) and numpy

Every case has the text of a .param, the values of its .bin as f32 (a null is the tag 0 before tagged values), and inputs and outputs by
name with ncnn's dimensions. Values are multiples of 1/8, so that a decimal holds them.
"""
import json
import pathlib
import struct
import sys
import tempfile

import ncnn
import numpy as np

rng = np.random.default_rng(5)
cases = []


def values(shape):
    return (rng.integers(-16, 17, shape) / 8).astype(np.float32)


def weights(n):
    return [None] + weights_raw(n)


def weights_raw(n):
    return [float(v) for v in rng.integers(-8, 9, n) / 8]


def positive(n):
    return [float(v) for v in rng.integers(2, 9, n) / 8]


def case(layers, inputs, bin=(), made=None):
    """layers: lines after the inputs; inputs: {name: shape or array}."""
    lines = [f"Input in{k} 0 1 {name}" for k, name in enumerate(inputs)] + layers
    blobs = sum(int(line.split()[3]) for line in lines)
    text = "\n".join(["7767517", f"{len(lines)} {blobs}"] + lines) + "\n"
    data = b"".join(struct.pack("<I", 0) if v is None else struct.pack("<f", v) for v in bin)
    feeds = {n: s if isinstance(s, np.ndarray) else values(s) for n, s in inputs.items()}
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / "a"
        base.with_suffix(".param").write_text(text)
        base.with_suffix(".bin").write_bytes(data or b"\0")
        net = ncnn.Net()
        o = net.opt
        o.num_threads = 1
        o.use_fp16_packed = o.use_fp16_storage = o.use_fp16_arithmetic = o.use_bf16_storage = False
        o.use_winograd_convolution = o.use_sgemm_convolution = o.use_packing_layout = False
        assert net.load_param(str(base) + ".param") == 0, text
        assert net.load_model(str(base) + ".bin") == 0, text
        extractor = net.create_extractor()
        for name, x in feeds.items():
            extractor.input(name, ncnn.Mat(x).clone())
        read = {b for line in lines for b in line.split()[4:4 + int(line.split()[2])]}
        outs = {}
        for line in lines:
            words = line.split()
            ins, n = int(words[2]), int(words[3])
            for blob in words[4 + ins:4 + ins + n]:
                if blob not in read:
                    code, y = extractor.extract(blob)
                    assert code == 0, (text, blob, code)
                    outs[blob] = np.array(y).astype(np.float32)
    array = lambda a: {"shape": list(a.shape), "values": [float(f"{v:.7g}") for v in a.ravel().tolist()]}
    cases.append({"param": text, "bin": list(bin), "inputs": {n: array(a) for n, a in feeds.items()}, "outputs": {n: array(a) for n, a in outs.items()}})
    shapes = {n: a.shape for n, a in outs.items()}
    print(layers[0].split()[0], layers[0].split("y")[-1], shapes)


def one(kind, params, shape, bin=()):
    case([f"{kind} l 1 1 x y {params}"], {"x": shape}, bin)


# Convolutions: pads, SAME, dilation, groups, fused activations.
one("Convolution", "0=3 1=3 5=1 6=54 4=1 14=0 15=2 16=1", (2, 5, 6), weights(54) + weights_raw(3))
one("Convolution", "0=2 1=3 11=2 6=24 2=2 12=1 3=2 13=1", (2, 6, 9), weights(24))
for pad in (-233, -234):
    one("Convolution", f"0=2 1=3 11=2 6=24 3=2 4={pad} 14={pad} 15={pad} 16={pad}", (2, 5, 6), weights(24))
one("Convolution", "0=2 1=3 5=1 6=36 4=1 18=0.5", (2, 4, 4), weights(36) + weights_raw(2))
for act in ("9=1", "9=2 -23310=1,0.25", "9=3 -23310=2,-0.5,1.5", "9=4", "9=5", "9=6 -23310=2,0.2,0.5", "9=6 -23310=2,0.16666667,0.5"):
    one("Convolution", f"0=2 1=1 6=4 5=1 {act}", (2, 3, 4), weights(4) + weights_raw(2))
one("ConvolutionDepthWise", "0=4 1=3 6=36 7=4 4=1 3=2 5=1", (4, 5, 6), weights(36) + weights_raw(4))
one("ConvolutionDepthWise", "0=6 1=3 6=108 7=2", (4, 5, 6), weights(108))
one("Convolution1D", "0=3 1=3 6=18 5=1 4=1 15=0 3=2 9=1", (2, 9), weights(18) + weights_raw(3))
one("Deconvolution", "0=3 1=3 3=2 6=54 5=1 4=1 14=0 15=0 16=1 18=1 19=0", (2, 4, 5), weights(54) + weights_raw(3))
one("Deconvolution", "0=2 1=3 11=2 6=24 2=2 12=1 9=2 -23310=1,0.1", (2, 4, 5), weights(24))
for pad in (-233, -234):
    one("Deconvolution", f"0=2 1=4 3=2 6=64 4={pad} 20=9 21=7", (2, 4, 5), weights(64))
one("DeconvolutionDepthWise", "0=4 1=3 3=2 6=36 7=4 4=1", (4, 4, 5), weights(36))
one("DeconvolutionDepthWise", "0=6 1=3 3=2 6=108 7=2 5=1", (4, 3, 4), weights(108) + weights_raw(6))
# Matrices.
one("InnerProduct", "0=3 1=1 2=72 9=1", (2, 3, 4), weights(72) + weights_raw(3))
one("InnerProduct", "0=3 2=12", (4,), weights(12))
one("InnerProduct", "0=3 1=1 2=12 9=4", (5, 4), weights(12) + weights_raw(3))
case(["MatMul l 2 1 x z y"], {"x": (3, 4), "z": (4, 5)})
case(["MatMul l 2 1 x z y 0=1"], {"x": (2, 3, 4), "z": (2, 5, 4)})
# Pools.
for kind in (0, 1):
    one("Pooling", f"0={kind} 1=3 2=2", (2, 6, 8))
    one("Pooling", f"0={kind} 1=3 2=2 3=1 5=1", (2, 6, 8))
    one("Pooling", f"0={kind} 1=2 11=3 2=2 12=1 3=1 13=0 14=0 15=1", (2, 6, 7))
    one("Pooling", f"0={kind} 1=3 2=2 5=2", (2, 6, 7))
    one("Pooling", f"0={kind} 1=2 2=2 5=3", (2, 5, 7))
    one("Pooling", f"0={kind} 4=1", (3, 4, 5))
    one("Pooling", f"0={kind} 7=1 8=3 18=2", (2, 5, 7))
    one("Pooling", f"0={kind} 7=1 8=1", (2, 5, 7))
    one("Pooling", f"0={kind} 7=1 8=3 18=2", (2, 6, 9))
    one("Pooling", f"0={kind} 7=1 8=-233 18=2", (2, 5, 7))
one("Pooling", "0=1 1=3 2=2 3=1 6=1", (2, 6, 8))
# Normalisations.
for shape in ((3, 2, 4), (3, 4), (3,)):
    one("BatchNorm", "0=3 1=0.001", shape, positive(3) + weights_raw(3) + positive(3) + weights_raw(3))
    one("Scale", "0=3 1=1", shape, weights_raw(3) + weights_raw(3))
    one("PReLU", "0=3", shape, weights_raw(3))
    one("PReLU", "0=1", shape, weights_raw(1))
one("Scale", "0=3", (3, 2, 4), weights_raw(3))
one("Bias", "0=3", (3, 2, 4), weights_raw(3))
case(["Scale l 2 1 x z y 0=-233"], {"x": (3, 2, 4), "z": (3,)})
one("InstanceNorm", "0=3", (3, 4, 5), weights_raw(3) + weights_raw(3))
one("InstanceNorm", "0=3 1=0.1 2=0", (3, 4, 5))
one("GroupNorm", "0=2 1=4", (4, 3, 5), weights_raw(4) + weights_raw(4))
one("GroupNorm", "0=2 1=4 2=0.1 3=0", (4, 3, 5))
one("LayerNorm", "0=5", (3, 5), weights_raw(5) + weights_raw(5))
one("LayerNorm", "0=5 2=0 1=0.1", (2, 3, 5))
one("LayerNorm", "0=15", (2, 3, 5), weights_raw(15) + weights_raw(15))
one("RMSNorm", "0=5", (3, 5), weights_raw(5))
for modes in ("0=1 4=1 1=1 3=1", "0=1 4=0 1=0 3=3", "0=0 4=1 1=1 3=1 9=1", "0=0 4=1 1=0 3=3 9=2"):
    one("Normalize", modes, (3, 2, 4), positive(1 if "1=1" in modes.split() else 3))
one("LRN", "1=3 2=0.5 3=0.75 4=2.0", (5, 2, 3))
# Functions of each element.
for kind, params in [("ReLU", ""), ("ReLU", "0=0.25"), ("Sigmoid", ""), ("TanH", ""), ("ELU", "0=0.5"), ("SELU", ""), ("Mish", ""), ("Swish", ""), ("Softplus", ""),
                     ("GELU", "0=1"), ("HardSigmoid", "0=0.2 1=0.5"), ("HardSwish", "0=0.16666667 1=0.5"), ("HardSwish", ""), ("Clip", "0=-0.5 1=0.75"), ("AbsVal", ""),
                     ("Dropout", "0=0.5"), ("Power", "0=2.0 1=0.5 2=1.0"), ("CELU", "0=0.5"), ("Erf", ""), ("Shrink", "0=0.25 1=0.5")]:
    one(kind, params, (2, 3, 4))
for op in (0, 1, 2, 3, 4, 7, 9, 10, 16, 18, 20, 21, 22, 23, 24):
    one("UnaryOp", f"0={op}", (2, 3, 4))
for op in (5, 6, 8, 15, 17, 27):
    case([f"UnaryOp l 1 1 x y 0={op}"], {"x": np.abs(values((2, 3, 4))) + np.float32(0.125)})
for op in (0, 1, 2, 3, 4, 5, 7):
    one("BinaryOp", f"0={op} 1=1 2=1.5", (2, 3, 4))
for op in (6, 8, 9, 12):
    case([f"BinaryOp l 1 1 x y 0={op} 1=1 2=1.5"], {"x": np.abs(values((2, 3, 4))) + np.float32(0.125)})
# Divisors that leave a rest: ncnn's quotients are not exact.
case(["BinaryOp l 1 1 x y 0=13 1=1 2=1.5"], {"x": np.abs(values((2, 3, 4))) + np.float32(0.09)})
for a, b in [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (2,)), ((4,), (2, 3, 4)), ((2, 3, 4), (2, 3)), ((3, 4), (3,)), ((4,), (3, 4)), ((2, 3, 4), (1, 3, 4)), ((2, 1, 1), (2, 3, 4)), ((3,), (3,)), ((2, 3, 4), (1,))]:
    case(["BinaryOp l 2 1 x z y 0=1"], {"x": a, "z": b})
for op in (0, 2, 4, 5, 7):
    case([f"BinaryOp l 2 1 x z y 0={op}"], {"x": (2, 3, 4), "z": (2, 3, 4)})
for params in ("0=0", "0=1", "0=1 -23301=3,0.5,-1.0,2.0", "0=2"):
    case([f"Eltwise l 3 1 x z v y {params}"], {"x": (2, 3, 4), "z": (2, 3, 4), "v": (2, 3, 4)})
# What moves elements.
for axis in (0, 1, 2, -1):
    case([f"Concat l 2 1 x z y 0={axis}"], {"x": (2, 3, 4), "z": (2, 3, 4)})
    one("Softmax", f"0={axis} 1=1", (2, 3, 4))
case(["Concat l 2 1 x z y 0=0"], {"x": (3, 4), "z": (2, 4)})
one("Softmax", "0=0", (5,))
one("Softmax", "0=1 1=1", (3, 4))
one("Flatten", "", (2, 3, 4))
for shape, orders in (((2, 3, 4), range(6)), ((3, 4), range(2))):
    for order in orders:
        one("Permute", f"0={order}", shape)
for params in ("0=24", "0=-1", "0=6 1=4", "0=-1 1=3", "0=2 1=-1 2=3", "0=0 1=-1", "0=4 1=3 2=-1", "0=0 1=0 2=-1"):
    one("Reshape", params, (2, 3, 4))
one("Reshape", "0=2 1=3 2=2", (12,))
for params in ("0=1 1=1 2=0 3=2 4=1 5=2", "0=1 1=2 2=1 3=-233 4=-233 5=-233", "0=1 1=1 3=-233 4=-233 5=-233 6=1 7=0 8=1", "-23309=2,1,-3 -23310=2,-233,-1 -23311=2,0,2", "-23309=3,0,1,2 -23310=3,2,-233,2147483647"):
    one("Crop", params, (3, 4, 5))
one("Crop", "0=1 1=1 3=2 4=-233", (4, 5))
one("Crop", "-23309=1,1 -23310=1,3 -23311=1,0", (5,))
case(["Crop l 2 1 x z y 0=1 1=2"], {"x": (3, 6, 7), "z": (2, 3, 4)})
case(["Crop l 2 1 x z y 0=1 1=2"], {"x": (3, 6, 7), "z": (3, 4)})
case(["Crop l 2 1 x z y 0=1 1=2 2=1"], {"x": (3, 6, 7), "z": (2, 3, 4)})
for params in ("-23300=2,1,-233 1=0", "-23300=2,-233,-233 1=1", "-23300=2,3,1 1=-1", "-23302=1,2 1=2", "-23302=1,-1 1=1"):
    case([f"Slice l 1 2 x y z {params}"], {"x": (2, 5, 4)})
case(["Slice l 1 3 x y z v -23300=3,-233,-233,-233 1=0"], {"x": (7, 2)})
one("ShuffleChannel", "0=2", (6, 2, 3))
one("ShuffleChannel", "0=2 1=1", (6, 2, 3))
for mode in (0, 1):
    one("PixelShuffle", f"0=2 1={mode}", (8, 2, 3))
for params in ("0=1 1=2 2=0 3=1 4=0 5=0.5", "0=1 1=2 2=3 3=1 4=1", "0=1 1=2 2=3 3=1 4=2", "0=1 4=0 5=-1.0 7=1 8=2"):
    one("Padding", params, (2, 3, 4))
one("Padding", "0=1 2=2 4=0 5=0.5", (3, 4))
for params in ("3=-1", "0=1 1=1 2=1"):
    one("Squeeze", "0=1" if params == "3=-1" else params, (3, 1, 1))
one("Squeeze", "-23303=1,1", (3, 1, 4))
one("ExpandDims", "-23303=1,0", (3, 4))
one("ExpandDims", "-23303=2,0,-1", (4,))
one("Tile", "0=1 1=2", (2, 3, 4))
one("Tile", "-23302=3,2,1,3", (2, 3, 4))
for op in range(11):
    shape = (2, 3, 4)
    case([f"Reduction l 1 1 x y 0={op} 1=0 -23303=2,1,2 5=1 4=0 2=0.5"], {"x": np.abs(values(shape)) + np.float32(0.125)})
one("Reduction", "0=3 1=0 -23303=1,0 5=1 4=1", (2, 3, 4))
one("Reduction", "0=0 1=0 -23303=1,-1 5=1", (3, 4))
one("Reduction", "0=4 1=1", (2, 3, 4))
one("Reduction", "0=0 1=1 4=1", (2, 3, 4))
# Resizing.
for params in ("0=1 1=2.0 2=3.0", "0=1 1=1.5 2=0.5", "0=1 3=5 4=7", "0=1 3=6 4=4", "0=2 1=2.0 2=2.0", "0=2 3=5 4=7", "0=2 3=2 4=7 6=1", "0=2 1=0.5 2=0.5", "0=3 1=2.0 2=2.0", "0=3 1=0.5 2=0.5", "0=3 3=5 4=7", "0=3 3=7 4=9 6=1", "0=2 1=1.5 2=0.7", "0=3 1=1.3 2=1.5", "0=2 1=1.5 2=1.5 6=1"):
    one("Interp", params, (2, 4, 5))
one("Interp", "0=2 3=3 4=2", (4,))
one("Interp", "0=2 2=2.0", (3, 4))
case(["Interp l 2 1 x z y 0=2 5=1"], {"x": (2, 4, 5), "z": (3, 7, 8)})
# Several layers.
case(["Split s 1 3 x p q o", "ReLU r 1 1 p u", "BinaryOp l 2 1 u q y 0=0", "MemoryData m 0 1 d 0=4 1=3 2=2", "BinaryOp e 2 1 d o z 0=2"], {"x": (2, 3, 4)}, weights_raw(24))
case(["Noop n 1 1 x p", "Convolution c 1 1 p q 0=2 1=1 6=4", "BatchNorm b 1 1 q u 0=2", "Scale t 1 1 u y 0=2 1=1"], {"x": (2, 3, 4)}, weights(4) + positive(2) + weights_raw(2) + positive(2) + weights_raw(2) + weights_raw(4))

pathlib.Path(sys.argv[1]).write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
print(len(cases), "cases")
