#!/usr/bin/env python3
"""Generates tests/golden/*.json: outputs and gradients of standard operations, computed in f64 by PyTorch on the CPU.

    python3 tools/golden.py            # writes tests/golden beside this folder; needs PyTorch 1.13 or newer
                                       # (Debian: apt-get install --no-install-recommends python3-torch)

tests/ops_golden.rs compares the f64 references of src/ops with them. The inputs come from Python's own seeded generator and
have two decimals (fields have four), so that every machine generates the same files. Results are rounded to eight digits.
"""

import json
import math
import pathlib
import random

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"


class Maker:
    """Collects the cases of one operation."""

    def __init__(self, name, rank=4):
        """Shapes get ones behind them up to `rank` dimensions."""
        self.name = name
        self.rank = rank
        self.cases = []
        self.random = random.Random(name)

    def values(self, *shape, low=-1.0, high=2.0, gap=0.0):
        """Returns uniform values in `low`..`high` with two decimals, at least `gap` away from zero."""
        n = 1
        for d in shape:
            n *= d
        data = []
        while len(data) < n:
            v = round(self.random.uniform(low, high), 2)
            if abs(v) >= gap:
                data.append(v)
        return torch.tensor(data, dtype=torch.float64).reshape(shape)

    def distinct(self, *shape):
        """Returns values of which no two are equal, so that every maximum is unique."""
        n = 1
        for d in shape:
            n *= d
        data = [round(k / 100 - 0.4, 2) for k in range(n)]
        self.random.shuffle(data)
        return torch.tensor(data, dtype=torch.float64).reshape(shape)

    def indices(self, *shape, below):
        return torch.tensor([self.random.randrange(below) for _ in range(math.prod(shape))]).reshape(shape)

    def case(self, attributes, inputs, function, without=(), mask=None):
        """Runs `function` on the inputs (a dict in the order of Op::inputs), and its gradient for a random dy times `mask`. `function`
        returns y, or y and a dict of further outputs and new values of inputs."""
        leaves = {k: v.clone().requires_grad_() if k not in without else v.clone() for k, v in inputs.items()}
        y, more = function(*leaves.values()), {}
        if isinstance(y, tuple):
            y, more = y
        dy = self.values(*y.shape, low=-1.0, high=1.0)
        if mask is not None:
            dy = dy * mask
        if y.requires_grad:
            y.backward(dy)
        case = {
            "attributes": attributes,
            "inputs": {k: self.tensor(v) for k, v in inputs.items()},
            "y": self.tensor(y),
            "dy": numbers(dy),
            "gradients": {k: numbers(v.grad) for k, v in leaves.items() if k not in without},
        }
        if more:
            case["more"] = {k: numbers(v) for k, v in more.items()}
        self.cases.append(case)

    def tensor(self, t):
        """Returns the shape, as [N, C, H, W] where the engine wants that, and the elements."""
        return {"shape": list(t.shape) + [1] * (self.rank - t.dim()), "data": numbers(t)}

    def write(self):
        content = {
            "operation": self.name,
            "made_by": f"tools/golden.py, PyTorch {torch.__version__.split('+')[0]}, f64, CPU",
            "cases": self.cases,
        }
        path = OUT / f"{self.name}.json"
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
        print(f"{path.name}: {len(self.cases)} cases, {path.stat().st_size} bytes")


def numbers(t):
    """Returns the elements; null for NaN."""
    return [None if math.isnan(v) else float(f"{v:.8g}") for v in t.detach().reshape(-1).tolist()]


def conv2d():
    m = Maker("conv2d")

    def run(x, w, b, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), replicate=False, groups=1):
        attributes = {
            "stride": list(stride),
            "dilation": list(dilation),
            "padding": list(padding),
            "replicate": replicate,
            "groups": groups,
        }

        def function(x, w, b):
            top, left, bottom, right = padding
            x = F.pad(x, (left, right, top, bottom), mode="replicate" if replicate else "constant")
            return F.conv2d(x, w, b.reshape(-1), stride, 0, dilation, groups)

        m.case(attributes, {"x": x, "w": w, "b": b}, function)

    v = m.values
    run(v(2, 2, 5, 6), v(3, 2, 3, 2), v(1, 3, 1, 1))
    run(v(1, 2, 7, 6), v(2, 2, 3, 3), v(1, 2, 1, 1), stride=(2, 3), padding=(1, 2, 1, 2))
    run(v(1, 2, 7, 8), v(2, 2, 3, 2), v(1, 2, 1, 1), dilation=(2, 3), padding=(2, 1, 2, 1))
    run(v(1, 4, 4, 5), v(6, 2, 3, 3), v(1, 6, 1, 1), groups=2, padding=(1, 1, 1, 1))
    run(v(1, 3, 5, 4), v(3, 1, 3, 3), v(1, 3, 1, 1), groups=3, stride=(2, 1), padding=(1, 1, 1, 1))
    run(v(1, 2, 4, 5), v(2, 2, 3, 5), v(1, 2, 1, 1), padding=(1, 2, 0, 3), replicate=True)
    run(v(1, 2, 4, 5), v(2, 2, 3, 2), v(1, 2, 1, 1), padding=(2, 0, 1, 3))
    m.write()


def conv3x3():
    m = Maker("conv3x3")
    for shape, co in [((2, 3, 4, 5), 2), ((1, 2, 1, 6), 3)]:
        x, w, b = m.values(*shape), m.values(co, shape[1], 3, 3), m.values(1, co, 1, 1)
        m.case({}, {"x": x, "w": w, "b": b}, lambda x, w, b: F.conv2d(x, w, b.reshape(-1), padding=1))
    m.write()


def conv_transpose2d():
    m = Maker("conv_transpose2d")

    def run(x, w, b, stride, padding, output_padding, dilation=(1, 1), groups=1):
        pairs = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        attributes = {name: list(pair) for name, pair in pairs.items()} | {"groups": groups}
        m.case(
            attributes,
            {"x": x, "w": w, "b": b},
            lambda x, w, b: F.conv_transpose2d(
                x, w, b.reshape(-1), stride, padding, output_padding, groups, dilation
            ),
        )

    v = m.values
    run(v(2, 2, 3, 4), v(2, 3, 3, 2), v(1, 3, 1, 1), (1, 1), (0, 0), (0, 0))
    run(v(1, 2, 3, 2), v(2, 2, 5, 4), v(1, 2, 1, 1), (3, 2), (2, 1), (0, 1))
    run(v(1, 2, 2, 3), v(2, 1, 5, 9), v(1, 1, 1, 1), (3, 3), (2, 4), (2, 2))
    run(v(2, 4, 3, 2), v(4, 1, 2, 3), v(1, 2, 1, 1), (2, 1), (1, 0), (1, 0), groups=2)
    run(v(1, 2, 3, 4), v(2, 3, 3, 2), v(1, 3, 1, 1), (2, 4), (1, 2), (0, 3), dilation=(3, 6))
    m.write()


def elementwise():
    m = Maker("relu")
    m.case({}, {"x": m.values(2, 3, 3, 4, gap=0.05)}, F.relu)
    m.write()
    m = Maker("leaky_relu")
    for slope in [0.25, 0.0625]:
        m.case({"slope": slope}, {"x": m.values(2, 2, 3, 4, gap=0.05)}, lambda x, s=slope: F.leaky_relu(x, s))
    m.write()
    m = Maker("prelu")
    x, slope = m.values(2, 3, 3, 4, gap=0.05), m.values(1, 3, 1, 1)
    m.case({}, {"x": x, "a": slope}, lambda x, a: F.prelu(x, a.reshape(-1)))
    m.write()
    m = Maker("sigmoid")
    m.case({}, {"x": m.values(2, 3, 3, 4, low=-8, high=9)}, torch.sigmoid)
    m.write()
    m = Maker("gate")
    for channels in [1, 3]:
        a, b, g = m.values(2, 3, 2, 4), m.values(2, 3, 2, 4), m.values(2, channels, 2, 4)
        m.case({}, {"a": a, "b": b, "g": g}, lambda a, b, g: torch.lerp(a, b, g.expand_as(a)))
    m.write()


def warp():
    m = Maker("warp")

    def run(x_shape, out, border, low, high):
        n, _, h, w = x_shape
        x = m.values(*x_shape)
        data = []
        for _ in range(n):
            for size in (w, h):
                for _ in range(out[0] * out[1]):
                    data.append(m.random.randrange(low, size + high) + round(m.random.uniform(0.1, 0.9), 4))
        f = torch.tensor(data, dtype=torch.float64).reshape(n, 2, *out)

        def function(x, f):
            # Converts pixels to the units of grid_sample; align_corners puts -1 and 1 at the centres of the outer pixels.
            scale = torch.tensor([2 / (w - 1), 2 / (h - 1)], dtype=torch.float64)
            grid = f.permute(0, 2, 3, 1) * scale - 1
            mode = {"zero": "zeros", "clamp": "border"}[border]
            return F.grid_sample(x, grid, mode="bilinear", padding_mode=mode, align_corners=True)

        m.case({"border": border}, {"x": x, "f": f}, function)

    for border in ["zero", "clamp"]:
        run((2, 3, 3, 5), (4, 3), border, -2, 2)
        run((1, 1, 2, 3), (5, 6), border, 0, 0)
    m.write()


def pairwise_distance():
    m = Maker("pairwise_distance")
    a, b = m.values(5, 7, 1, 1), m.values(3, 7, 1, 1)

    def function(a, b):
        return torch.cdist(a[:, :, 0, 0], b[:, :, 0, 0], compute_mode="donot_use_mm_for_euclid_dist")[:, :, None, None] ** 2

    m.case({}, {"a": a, "b": b}, function)
    m.write()


def linear():
    m = Maker("linear")
    for shape in [(3, 5, 1, 1), (2, 2, 2, 3)]:
        features = shape[1] * shape[2] * shape[3]
        x, w, b = m.values(*shape), m.values(4, features, 1, 1), m.values(1, 4, 1, 1)
        m.case(
            {},
            {"x": x, "w": w, "b": b},
            lambda x, w, b: F.linear(x.flatten(1), w.flatten(1), b.reshape(-1))[:, :, None, None],
        )
    m.write()


def local_conv2d():
    """Filters of each cell on patches by unfold, whose samples are counted row by row."""
    m = Maker("local_conv2d")

    def function(side, kernel):
        def run(x, w, b):
            n, c, height, width = x.shape
            rows, columns = height - kernel + 1, width - kernel + 1
            cells = rows // side * (columns // side)
            patches = F.unfold(x, kernel).reshape(n, c * kernel * kernel, rows, columns)
            y = torch.zeros(n, w.shape[0] // cells, rows, columns, dtype=x.dtype)
            filters = w.flatten(1).reshape(cells, -1, c * kernel * kernel)
            bias = b.reshape(cells, -1)
            for cell in range(cells):
                i, j = cell // (columns // side) * side, cell % (columns // side) * side
                seen = patches[:, :, i : i + side, j : j + side]
                y[:, :, i : i + side, j : j + side] = (
                    torch.einsum("od,ndij->noij", filters[cell], seen) + bias[cell][None, :, None, None]
                )
            return y

        return run

    for (n, c, h, w), outputs, kernel, side in [((2, 3, 6, 8), 2, 3, 2), ((1, 2, 4, 3), 3, 2, 1), ((2, 1, 4, 4), 2, 2, 3)]:
        filters = (h - kernel + 1) // side * ((w - kernel + 1) // side) * outputs
        x, k, b = m.values(n, c, h, w), m.values(filters, c, kernel, kernel), m.values(1, filters, 1, 1)
        m.case({"side": side}, {"x": x, "w": k, "b": b}, function(side, kernel))
    m.write()


def pools():
    def sliding(kernel, stride, dilation=(1, 1), padding=(0, 0, 0, 0), ceil=False):
        sizes = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
        return {name: list(values) for name, values in sizes.items()} | {"ceil": ceil}

    def padded(x, a, value):
        top, left, bottom, right = a["padding"]
        return F.pad(x, (left, right, top, bottom), value=value)

    # The padding of PyTorch is the same on both sides, except where a picture is padded by hand.
    same = [
        ((2, 2, 4, 6), sliding((2, 2), (2, 2))),
        ((1, 2, 5, 7), sliding((3, 3), (2, 2), padding=(1, 1, 1, 1))),
        ((1, 2, 5, 7), sliding((3, 2), (2, 3), padding=(1, 0, 1, 0))),
        ((1, 2, 6, 7), sliding((2, 3), (3, 2), ceil=True)),
        ((1, 1, 6, 8), sliding((3, 3), (2, 4), padding=(1, 1, 1, 1), ceil=True)),
    ]
    other = [
        ((1, 2, 7, 8), sliding((3, 2), (2, 1), dilation=(2, 3), padding=(1, 1, 1, 1))),
        ((1, 1, 7, 9), sliding((2, 2), (2, 3), dilation=(3, 2), padding=(1, 1, 1, 1), ceil=True)),
    ]
    uneven = [((1, 2, 4, 5), sliding((3, 3), (2, 2), padding=(1, 0, 2, 1)))]
    adaptive = [((1, 2, 5, 7), [2, 3]), ((1, 1, 3, 4), [5, 4]), ((2, 2, 3, 5), [1, 1])]
    m = Maker("max_pool2d")
    for shape, a in same + other:
        m.case(
            a,
            {"x": m.distinct(*shape)},
            lambda x, a=a: F.max_pool2d(x, a["kernel"], a["stride"], a["padding"][:2], a["dilation"], a["ceil"]),
        )
    for shape, a in uneven:
        m.case(a, {"x": m.distinct(*shape)}, lambda x, a=a: F.max_pool2d(padded(x, a, -9.0), a["kernel"], a["stride"]))
    for shape, size in adaptive:
        m.case({"size": size}, {"x": m.distinct(*shape)}, lambda x, s=size: F.adaptive_max_pool2d(x, s))
    m.write()
    m = Maker("avg_pool2d")
    for include in [True, False]:
        for shape, a in same[1:] if include else same[3:]:
            m.case(
                a | {"count_include_pad": include},
                {"x": m.values(*shape)},
                lambda x, a=a, i=include: F.avg_pool2d(x, a["kernel"], a["stride"], a["padding"][:2], a["ceil"], i),
            )
    for shape, a in uneven:
        m.case(
            a | {"count_include_pad": True},
            {"x": m.values(*shape)},
            lambda x, a=a: F.avg_pool2d(padded(x, a, 0.0), a["kernel"], a["stride"]),
        )
    for shape, size in adaptive:
        m.case({"size": size}, {"x": m.values(*shape)}, lambda x, s=size: F.adaptive_avg_pool2d(x, s))
    m.write()


def inside(tensor, rows, columns):
    """Returns ones in the shape of `tensor`, with borders of zeros."""
    mask = torch.zeros_like(tensor)
    mask[..., rows : tensor.shape[2] - rows, columns : tensor.shape[3] - columns] = 1.0
    return mask


def resize():
    """Without antialiasing, PyTorch clamps at the border; with it, PyTorch cuts the kernel off, and only then has our bicubic
    kernel (a = -0.5). So bicubic is compared away from the border: x and dy are zero near it."""
    m = Maker("resize")

    def attributes(kernel, scale, antialias):
        return {"kernel": kernel, "scale": scale, "antialias": antialias, "border": "clamp"}

    def size(shape, scale):
        return [shape[2] * scale[0] // scale[1], shape[3] * scale[2] // scale[3]]

    for kernel, mode, corners in [("bilinear", "bilinear", False), ("nearest", "nearest-exact", None)]:
        for shape, scale in [((1, 2, 3, 5), (2, 1, 3, 1)), ((1, 2, 6, 4), (1, 2, 1, 2)), ((1, 1, 6, 4), (3, 2, 2, 1))]:
            m.case(
                attributes(kernel, scale, False),
                {"x": m.values(*shape)},
                lambda x, s=size(shape, scale), mode=mode, c=corners: F.interpolate(x, size=s, mode=mode, align_corners=c),
            )
    # Outputs whose kernels reach beyond the border (`edge` per side) see only the zeros (`zero` per side).
    for shape, num, den, zero, edge in [
        ((1, 1, 9, 11), 2, 1, 4, 4),
        ((1, 1, 22, 20), 1, 2, 8, 2),
        ((1, 1, 21, 18), 2, 3, 6, 2),
    ]:
        x = m.values(*shape)
        scale = (num, den, num, den)
        y = torch.zeros(1, shape[1], *size(shape, scale), dtype=torch.float64)
        m.case(
            attributes("bicubic", scale, True),
            {"x": x * inside(x, zero, zero)},
            lambda x, s=size(shape, scale): F.interpolate(x, size=s, mode="bicubic", align_corners=False, antialias=True),
            mask=inside(y, edge, edge),
        )
    m.write()


def pixel_shuffle():
    m = Maker("pixel_shuffle")
    for shape, factor in [((2, 8, 2, 3), 2), ((1, 9, 2, 1), 3)]:
        m.case({"factor": factor}, {"x": m.values(*shape)}, lambda x, r=factor: F.pixel_shuffle(x, r))
    m.write()


def loss():
    m = Maker("loss")
    # A power of two, which f32 holds exactly.
    eps = 0.125

    def charbonnier(a, b):
        return torch.sqrt((a - b) ** 2 + eps**2)

    def square(a, b):
        return F.mse_loss(a, b, reduction="none")

    for attributes, penalty in [({"eps": None}, square), ({"eps": eps}, charbonnier)]:
        for reduction in ["mean", "sum"]:
            m.case(
                attributes | {"reduction": reduction, "weighted": False},
                {"a": m.values(2, 3, 2, 4), "b": m.values(2, 3, 2, 4)},
                lambda a, b, r=reduction, f=penalty: getattr(f(a, b), r)().reshape(1, 1, 1, 1),
            )
            m.case(
                attributes | {"reduction": reduction, "weighted": True},
                {"a": m.values(1, 2, 3, 4), "b": m.values(1, 2, 3, 4), "m": m.values(1, 2, 3, 4, low=0.0)},
                lambda a, b, m, r=reduction, f=penalty: getattr(m * f(a, b), r)().reshape(1, 1, 1, 1),
                without=("m",),
            )
    scores = {"a": m.values(2, 3, 2, 4), "b": m.values(2, 3, 2, 4)}
    # A difference of exactly delta, and of its opposite.
    scores["a"][0, 0, 0, :2] = scores["b"][0, 0, 0, :2] + torch.tensor([0.75, -0.75])
    classes = {"a": m.values(2, 3, 2, 4), "b": torch.sign(m.values(2, 3, 2, 4, gap=0.01))}
    probabilities = {"a": m.values(2, 3, 2, 4, low=-40.0, high=40.0), "b": m.values(2, 3, 2, 4, low=0.0, high=1.0)}
    for penalty, inputs, f in [
        ({"penalty": "huber", "delta": 0.75}, scores, lambda a, b: F.huber_loss(a, b, reduction="none", delta=0.75)),
        ({"penalty": "hinge"}, classes, lambda a, b: F.relu(1 - a * b)),
        ({"penalty": "bce"}, probabilities, lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none")),
    ]:
        m.case(
            penalty | {"reduction": "mean", "weighted": False},
            inputs,
            lambda a, b, f=f: f(a, b).mean().reshape(1, 1, 1, 1),
        )
    m.write()


def cross_entropy():
    m = Maker("cross_entropy", rank=1)
    for reduction in ["mean", "sum"]:
        for shape in [(3, 4), (2, 5, 2, 3)]:
            t = m.indices(shape[0], *shape[2:], below=shape[1])
            # PyTorch ignores one label, and the engine all that are not classes.
            t.reshape(-1)[1] = 9
            m.case(
                {"reduction": reduction},
                {"x": m.values(*shape, low=-4.0, high=4.0), "t": t},
                lambda x, t, r=reduction: F.cross_entropy(x, t, ignore_index=9, reduction=r).reshape(1, 1, 1, 1),
                without=("t",),
            )
    m.write()


def quintuplet():
    m = Maker("quintuplet")
    for reduction in ["mean", "sum"]:
        for count, d in [(1, 3), (6, 2)]:
            margins = [0.25, 0.5, 1.0]

            def function(f, w, count=count, reduction=reduction, margins=margins):
                anchor, *partners = f.split(count)
                far = [((anchor - partner) ** 2).sum(1) for partner in partners]
                hinges = [F.relu(g + near - next) for g, near, next in zip(margins, far, far[1:])]
                loss = (w * torch.stack(hinges, 1)).sum() / (count if reduction == "mean" else 1)
                return loss.reshape(1, 1, 1, 1)

            weights = m.values(count, 3, low=0.0, high=2.0)
            inputs = {"f": m.values(5 * count, d), "m": weights}
            m.case({"margins": margins, "reduction": reduction}, inputs, function, without=("m",))
    m.write()


def pointwise():
    """All functions in one file. Their kinks are among the numbers."""
    m = Maker("pointwise", rank=1)
    kinks = torch.tensor([-3.0, -1.0, 0.0, 0.5, 3.0, -30.0, 30.0], dtype=torch.float64)
    positive = [torch.sqrt, torch.log]
    for name, f in [
        ("abs", torch.abs),
        ("ceil", torch.ceil),
        ("cos", torch.cos),
        ("erf", torch.erf),
        ("exp", torch.exp),
        ("floor", torch.floor),
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("hard_swish", F.hardswish),
        ("log", torch.log),
        ("mish", F.mish),
        ("neg", torch.neg),
        ("reciprocal", torch.reciprocal),
        ("round", torch.round),
        ("sign", torch.sign),
        ("silu", F.silu),
        ("sin", torch.sin),
        ("softplus", F.softplus),
        ("sqrt", torch.sqrt),
        ("tanh", torch.tanh),
        ("clamp", lambda x: torch.clamp(x, -1.0, 0.5)),
        ("elu", lambda x: F.elu(x, 0.75)),
        ("hard_sigmoid", lambda x: torch.clamp(0.25 * x + 0.75, 0.0, 1.0)),
    ]:
        parameters = {"clamp": [-1.0, 0.5], "elu": [0.75], "hard_sigmoid": [0.25, 0.75]}.get(name, [])
        gap = 0.2 if name == "reciprocal" else 0.0
        x = m.values(7, low=0.1, high=4.0) if f in positive else m.values(7, low=-4.0, high=4.0, gap=gap)
        if f not in positive:
            x = torch.cat([x, kinks[kinks != 0] if name == "reciprocal" else kinks])
        m.case({"function": name, "parameters": parameters}, {"x": x}, f)
    for name, f in [
        ("add", torch.add),
        ("div", torch.div),
        ("max", torch.maximum),
        ("min", torch.minimum),
        ("mul", torch.mul),
        ("sub", torch.sub),
    ]:
        a, b = m.values(3, 4), m.values(2, 1, 4, gap=0.2)
        a[0, 1] = b[1, 0, 1]
        m.case({"function": name, "parameters": []}, {"a": a, "b": b}, f)
    a, b = m.values(3, 4, low=0.2), m.values(2, 1, 4)
    m.case({"function": "pow", "parameters": []}, {"a": a.abs(), "b": b}, torch.pow)
    a, b = torch.tensor([0.0, 0.0, 0.0, -2.0, -0.5, -2.0, 3.0]), torch.tensor([2.0, 1.0, 0.0, 3.0, -2.0, 0.0, 0.0])
    # The derivative for b of a negative number's power is NaN in PyTorch.
    m.case({"function": "pow", "parameters": []}, {"a": a.double(), "b": b.double()}, torch.pow, without=("b",))
    for name, f in [
        ("equal", torch.eq),
        ("greater", torch.gt),
        ("greater_or_equal", torch.ge),
        ("less", torch.lt),
        ("less_or_equal", torch.le),
    ]:
        a, b = m.values(2, 3), m.values(3)
        a[0, 1] = b[1]
        m.case({"function": name, "parameters": []}, {"a": a, "b": b}, lambda a, b, f=f: f(a, b) + 0, without=("a", "b"))
    x = torch.cat([m.values(7, low=-4.0, high=4.0), kinks])
    m.case({"function": "atan", "parameters": []}, {"x": x}, torch.atan)
    m.write()


def selections():
    m = Maker("select", rank=1)
    m.case(
        {},
        {"c": m.indices(3, 1, below=2), "a": m.values(2, 1, 4), "b": m.values(4)},
        lambda c, a, b: torch.where(c != 0, a, b),
        without=("c",),
    )
    m.write()
    m = Maker("gather", rank=1)
    for shape, indices, axis in [((5, 3), (2, 4), 0), ((2, 4, 3), (7,), 1)]:
        m.case(
            {"axis": axis, "elements": False},
            {"x": m.values(*shape), "indices": m.indices(*indices, below=shape[axis])},
            lambda x, i, a=axis: x.index_select(a, i.reshape(-1)).reshape(*x.shape[:a], *i.shape, *x.shape[a + 1 :]),
            without=("indices",),
        )
    for shape, indices, axis in [((2, 4, 3), (2, 6, 3), 1), ((3, 5), (3, 1), 1)]:
        m.case(
            {"axis": axis, "elements": True},
            {"x": m.values(*shape), "indices": m.indices(*indices, below=shape[axis])},
            lambda x, i, a=axis: torch.gather(x, a, i),
            without=("indices",),
        )
    m.write()
    m = Maker("resample", rank=1)
    # Along one axis, an interpolation with aligned corners from 5 to 9 has the weights 1 and 1/2.
    taps = [(j // 2, min(j // 2 + 1, 4), 1 - j % 2 / 2, j % 2 / 2) for j in range(9)]
    table = torch.tensor(taps, dtype=torch.float64)
    m.case(
        {"axis": 2},
        {"x": m.values(2, 3, 5), "indices": table[:, :2].long(), "w": table[:, 2:]},
        lambda x, i, w: F.interpolate(x, size=9, mode="linear", align_corners=True),
        without=("indices", "w"),
    )
    # Sums over windows of channels, as avg_pool with zeros outside.
    windows = torch.tensor([[min(max(c + d, 0), 5) for d in (-1, 0, 1)] for c in range(6)])
    inside = torch.tensor([[float(0 <= c + d < 6) for d in (-1, 0, 1)] for c in range(6)], dtype=torch.float64)
    m.case(
        {"axis": 1},
        {"x": m.values(2, 6, 2, 3), "indices": windows, "w": inside},
        lambda x, i, w: 3 * F.avg_pool3d(x.unsqueeze(1), (3, 1, 1), 1, (1, 0, 0)).squeeze(1),
        without=("indices", "w"),
    )
    m.write()
    m = Maker("scatter_add", rank=1)
    for shape, indices, u, axis, f in [
        ((4, 3), (6,), (6, 3), 0, torch.index_add),
        ((2, 3, 2), (5,), (2, 5, 2), 1, torch.index_add),
        ((2, 4, 3), (2, 6, 3), (2, 6, 3), 1, torch.scatter_add),
    ]:
        m.case(
            {"axis": axis, "elements": f is torch.scatter_add},
            {"x": m.values(*shape), "indices": m.indices(*indices, below=shape[axis]), "u": m.values(*u)},
            lambda x, i, u, a=axis, f=f: f(x, a, i, u),
            without=("indices",),
        )
    m.write()
    m = Maker("top_k", rank=1)
    for shape, k, axis, largest in [((2, 7), 3, 1, True), ((5, 2, 2), 2, 0, False)]:

        def top(x, k=k, axis=axis, largest=largest):
            y, indices = torch.topk(x, k, axis, largest)
            return y, {"indices": indices}

        m.case({"k": k, "axis": axis, "largest": largest}, {"x": m.distinct(*shape)}, top)
    m.write()
    m = Maker("extremum", rank=1)
    for shape, axes, keep, largest in [((2, 5, 3), [1], True, True), ((3, 2, 4), [0, 1, 2], False, False)]:

        def extreme(x, axes=axes, keep=keep, largest=largest):
            flat = x.flatten() if len(axes) == 3 else x
            axis = 0 if len(axes) == 3 else axes[0]
            y, indices = (torch.max if largest else torch.min)(flat, axis, keepdim=keep)
            return y.reshape(y.shape or (1,)), {"indices": indices}

        m.case({"axes": axes, "keep": keep, "largest": largest}, {"x": m.distinct(*shape)}, extreme)
    m.write()


def sums():
    m = Maker("reduce", rank=1)

    def product(x, axes, keepdim):
        for axis in sorted(axes, reverse=True):
            x = x.prod(axis, keepdim=keepdim)
        return x

    for kind, f in [
        ("sum", torch.sum),
        ("mean", torch.mean),
        ("l2", lambda x, a, keepdim: x.norm(dim=a, keepdim=keepdim)),
        ("product", product),
    ]:
        for shape, axes, keep in [((2, 3, 4), [0, 2], True), ((3, 2, 2, 2), [1, 2], False)]:
            x = m.values(*shape)
            if kind == "l2" and keep:
                # The length 0.
                x[:, 1] = 0.0
            if kind == "product" and keep:
                # One zero, and two.
                x[0, 0, 0] = x[0, 1, 1] = x[1, 1, 1] = 0.0
            m.case(
                {"kind": kind, "axes": axes, "keep": keep}, {"x": x}, lambda x, f=f, a=axes, k=keep: f(x, a, keepdim=k)
            )
    m.write()
    m = Maker("cumulative_sum", rank=1)
    for axis, exclusive, reverse in [(1, False, False), (0, False, True), (1, True, False), (1, True, True)]:

        def cumulative(x, axis=axis, exclusive=exclusive, reverse=reverse):
            x = x.flip(axis) if reverse else x
            y = torch.cumsum(x, axis) - (x if exclusive else 0)
            return y.flip(axis) if reverse else y

        m.case({"axis": axis, "exclusive": exclusive, "reverse": reverse}, {"x": m.values(3, 5)}, cumulative)
    m.write()
    m = Maker("matmul", rank=1)
    for a, b, ta, tb in [((2, 3), (3, 4), False, False), ((3, 1, 4, 2), (2, 4, 3), True, False), ((2, 3), (5, 4, 3), False, True)]:
        m.case(
            {"transpose_a": ta, "transpose_b": tb},
            {"a": m.values(*a), "b": m.values(*b)},
            lambda a, b, ta=ta, tb=tb: (a.mT if ta else a) @ (b.mT if tb else b),
        )
    m.write()


def normalisations():
    eps, momentum = 2.0**-10, 0.125
    m = Maker("softmax", rank=1)
    for axis, log in [(1, False), (0, True)]:
        x = m.values(3, 5, low=-20.0, high=20.0)
        m.case({"axis": axis, "log": log}, {"x": x}, lambda x, a=axis, l=log: (F.log_softmax if l else F.softmax)(x, a))
    m.write()
    m = Maker("normalize", rank=1)
    w, b = m.values(2, 5), m.values(2, 5)
    m.case(
        {"axes_from": 1, "eps": eps}, {"x": m.values(3, 2, 5), "w": w, "b": b}, lambda x, w, b: F.layer_norm(x, (2, 5), w, b, eps)
    )
    for groups in [1, 2, 4]:
        m.case(
            {"groups": groups, "eps": eps},
            {"x": m.values(2, 4, 2, 3), "w": m.values(4), "b": m.values(4)},
            lambda x, w, b, g=groups: F.group_norm(x, g, w, b, eps),
        )
    m.write()
    m = Maker("batch_norm", rank=1)
    for shape, training in [((3, 2, 2, 2), True), ((5, 3), True), ((2, 3, 4), False)]:

        def normalised(x, w, b, mean, variance, training=training):
            y = F.batch_norm(x, mean, variance, w, b, training, momentum, eps)
            return (y, {"m": mean, "v": variance}) if training else y

        c = shape[1]
        inputs = {"x": m.values(*shape), "w": m.values(c), "b": m.values(c), "m": m.values(c), "v": m.values(c, low=0.5)}
        m.case({"training": training, "momentum": momentum, "eps": eps}, inputs, normalised, without=("m", "v"))
    m.write()


def views():
    m = Maker("view", rank=1)

    def run(x, start, axes, border, function):
        axes = [{"source": source, "step": step, "len": len} for source, step, len in axes]
        m.case({"start": start, "axes": axes, "border": border}, {"x": x}, function)

    v = m.values
    run(v(2, 3, 4), [0, 0, 0], [(2, 1, 4), (0, 1, 2), (1, 1, 3)], None, lambda x: x.permute(2, 0, 1))
    run(v(2, 7), [0, 5], [(0, 1, 2), (1, -2, 3)], None, lambda x: x.flip(1)[:, 1:6:2])
    run(v(3, 4, 2), [0, 2, 0], [(0, 1, 3), (2, 1, 2)], None, lambda x: x[:, 2])
    run(v(3, 1), [0, 0], [(None, 0, 2), (0, 1, 3), (1, 0, 4)], None, lambda x: x.expand(2, 3, 4))
    for border, mode in [("reflect", "reflect"), ("edge", "replicate")]:
        axes = [(0, 1, 1), (1, 1, 2), (2, 1, 8), (3, 1, 9)]
        run(v(1, 2, 4, 5), [0, 0, -3, -1], axes, border, lambda x, mode=mode: F.pad(x, (1, 3, 3, 1), mode=mode))
    run(v(2, 3), [-1, 0], [(0, 1, 4), (1, 1, 5)], -0.5, lambda x: F.pad(x, (0, 2, 1, 1), value=-0.5))
    m.write()


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    conv2d()
    conv3x3()
    conv_transpose2d()
    elementwise()
    warp()
    pairwise_distance()
    linear()
    local_conv2d()
    pools()
    pixel_shuffle()
    resize()
    loss()
    cross_entropy()
    quintuplet()
    pointwise()
    selections()
    sums()
    normalisations()
    views()
