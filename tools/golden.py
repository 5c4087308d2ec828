#!/usr/bin/env python3
"""Generates tests/golden/*.json: outputs and gradients of standard operations, computed in f64 by PyTorch on the CPU.

    python3 tools/golden.py            # writes tests/golden beside this folder; needs PyTorch 1.13 or newer
                                       # (Debian: apt-get install --no-install-recommends python3-torch)

tests/ops_golden.rs compares the f64 references of src/ops with them. The inputs come from Python's own seeded generator and
have two decimals (fields have four), so that every machine generates the same files. Results are rounded to nine digits.
"""

import json
import pathlib
import random

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"


class Maker:
    """Collects the cases of one operation."""

    def __init__(self, name):
        self.name = name
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

    def case(self, attributes, inputs, function, without=(), mask=None):
        """Runs `function` on the inputs (a dict in the order of Op::inputs), and its gradient for a random dy times `mask`."""
        leaves = {k: v.clone().requires_grad_(k not in without) for k, v in inputs.items()}
        y = function(*leaves.values())
        dy = self.values(*y.shape, low=-1.0, high=1.0)
        if mask is not None:
            dy = dy * mask
        y.backward(dy)
        self.cases.append(
            {
                "attributes": attributes,
                "inputs": {k: tensor(v) for k, v in inputs.items()},
                "y": tensor(y),
                "dy": numbers(dy),
                "gradients": {k: numbers(v.grad) for k, v in leaves.items() if k not in without},
            }
        )

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
    return [float(f"{v:.9g}") for v in t.detach().reshape(-1).tolist()]


def tensor(t):
    """Returns the shape as the engine's [N, C, H, W], and the elements."""
    shape = list(t.shape) + [1] * (4 - t.dim())
    return {"shape": shape, "data": numbers(t)}


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
    run(v(2, 4, 4, 5), v(6, 2, 3, 3), v(1, 6, 1, 1), groups=2, padding=(1, 1, 1, 1))
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
    run(v(1, 3, 2, 3), v(3, 1, 9, 9), v(1, 1, 1, 1), (3, 3), (4, 4), (2, 2))
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
        ((1, 1, 6, 5), sliding((3, 3), (1, 1), padding=(1, 1, 1, 1))),
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
        for shape, a in same:
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
        for shape, scale in [((2, 2, 3, 5), (2, 1, 3, 1)), ((1, 2, 6, 4), (1, 2, 1, 2)), ((1, 1, 6, 4), (3, 2, 2, 1))]:
            m.case(
                attributes(kernel, scale, False),
                {"x": m.values(*shape)},
                lambda x, s=size(shape, scale), mode=mode, c=corners: F.interpolate(x, size=s, mode=mode, align_corners=c),
            )
    # Outputs whose kernels reach beyond the border (`edge` per side) see only the zeros (`zero` per side).
    for shape, num, den, zero, edge in [
        ((1, 1, 9, 11), 2, 1, 4, 4),
        ((1, 1, 22, 20), 1, 2, 8, 2),
        ((1, 2, 21, 18), 2, 3, 6, 2),
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
    pools()
    pixel_shuffle()
    resize()
    loss()
