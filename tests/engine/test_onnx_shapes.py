"""Shapes of ONNX graphs at many sizes, against runs by onnxruntime; sizes that do not fit, and whose fault it is."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from torch import Tensor, nn

from engine.configuration import Configuration
from engine.errors import CancelledError
from engine.graph import InputShape, Shape
from engine.loaders.options import LoadOptions
from engine.onnx.document import open_document
from engine.onnx.shapes import NodeError, ShapeEngine
from engine.open_model import FailedAnalysisError
from engine.opening import open_model
from tests.conftest import sampled
from tests.engine.onnx_text import document, parsed, run_shapes, runs, shapes_of
from tests.onnx_models import export


class Windows(nn.Module):
    """Attention within windows of 4 × 4, as in Swin: pads to whole windows, so that sizes are computed in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x).permute(0, 2, 3, 1))
        batch, height, width, features = x.shape
        x = nn.functional.pad(x, (0, 0, 0, -width % 4, 0, -height % 4))
        rows, columns = x.shape[1] // 4, x.shape[2] // 4
        x = x.reshape(batch, rows, 4, columns, 4, features).permute(0, 1, 3, 2, 4, 5)
        query, key, value = self.qkv(x.reshape(batch * rows * columns, 16, features)).chunk(3, -1)
        x = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        x = x.reshape(batch, rows, columns, 4, 4, features).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, rows * 4, columns * 4, features)[:, :height, :width]
        result: Tensor = self.head(x.mean((1, 2)))
        return result


class Decoder(nn.Module):
    """Token embedding with positions and a causal mask made from the sequence's length."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50, 16), nn.Embedding(64, 16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 50)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        query, key, value = self.qkv(x).reshape(batch, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mask = torch.ones(length, length, device=ids.device).tril() == 0
        scores = (query @ key.transpose(-2, -1)).masked_fill(mask, -1e9)
        made = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, 16)
        result: Tensor = self.out(made)
        return result


EXPORTS = [("windows", False), ("decoder", False), ("windows", True), ("decoder", True)]


@pytest.mark.parametrize(("kind", "dynamo"), sampled(EXPORTS, 2, "exported transformers"))
def test_exported_transformers_are_shaped_whole(kind: str, dynamo: bool, tmp_path: Path) -> None:
    """No value is left blank, and each has the size that onnxruntime makes, at sizes that were not exported."""
    if kind == "windows":
        dims = {"image": {0: "batch", 2: "height", 3: "width"}}
        path = export(
            Windows(), (torch.randn(2, 3, 20, 28),), tmp_path / "m.onnx", dynamo=dynamo, dynamic=dims
        )
        sizes: list[Shape] = [(1, 3, 32, 32), (3, 3, 22, 50)]
    else:
        ids = torch.zeros(2, 9, dtype=torch.int64)
        dims = {"ids": {0: "batch", 1: "sequence"}}
        path = export(Decoder(), (ids,), tmp_path / "m.onnx", dynamo=dynamo, dynamic=dims)
        sizes = [(1, 5), (3, 33)]
    engine = ShapeEngine(open_document(path))
    name = next(iter(dims))
    for size in sizes:
        dtype = "float32" if kind == "windows" else "int64"
        shapes = engine.infer([InputShape(name, size, dtype)])
        assert shapes.unknown == ()
        assert shapes.assumptions == ()
        ran = run_shapes(path, {name: numpy.zeros(size, dtype)})
        inferred = {each: shapes.main.of(each).shape for each in ran}
        assert inferred == ran


def test_sizes_computed_from_a_shape_are_folded(tmp_path: Path) -> None:
    """Operators that onnx's own data propagation does not know."""
    model = parsed(
        """agraph (float[N,C,H,W] x) => (y, z)
        <int64 one = {1}, int64[1] axis = {0}, int64[2] hw = {2, 3}, int64[1] four = {4}, float half = {0.5}> {
            s = Shape(x)
            plane = Gather(s, hw)
            f = Cast<to = 1>(plane)
            scaled = Mul(f, half)
            up = Ceil(scaled)
            sizes = Cast<to = 7>(up)
            left = Mod(sizes, four)
            odd = Equal(left, axis)
            chosen = Where(odd, sizes, four)
            nc = Slice(s, axis, hw2)
            all = Concat<axis = 0>(nc, chosen)
            y = Expand(e, all)
            count = ReduceProd<keepdims = 0>(sizes)
            zero = Sub(one, one)
            z = Range(zero, count, one)
        }"""
    )
    model.graph.initializer.extend(
        [
            parsed("agraph () => () <int64[1] hw2 = {2}> {}").graph.initializer[0],
            parsed("agraph () => () <float[1] e = {3}> {}").graph.initializer[0],
        ]
    )
    shapes = shapes_of(model, tmp_path, {"x": (2, 3, 15, 16)})
    assert shapes.main.of("y").shape == (2, 3, 8, 8)
    assert shapes.main.of("z").shape == (64,)
    feeds = {"x": numpy.zeros((2, 3, 15, 16), numpy.float32)}
    assert run_shapes(tmp_path / "model.onnx", feeds)["y"] == (2, 3, 8, 8)
    assert shapes_of(model, tmp_path, {"x": (2, 3, 10, 9)}).main.of("y").shape == (2, 3, 4, 4)


def test_values_are_known_to_those_who_ask(tmp_path: Path) -> None:
    model = parsed(
        "agraph (float[N,4] x) => (y) <int64[1] n = {-1}> { s = Shape(x) t = Concat<axis=0>(s, n) y = Neg(t) }"
    )
    shapes = shapes_of(model, tmp_path, {"x": (3, 4)})
    found = shapes.main.constant("y")
    assert found is not None
    assert found.tolist() == [-3, -4, 1]
    assert shapes.main.constant("x") is None


# -- sizes that do not fit -------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    """A graph that runs at ``good`` and not at ``bad``, and the sentence that is said then."""

    text: str
    weights: dict[str, Shape]
    good: Shape
    bad: Shape
    message: str


X = "agraph (float[A,B,C,D] x) => (y)"
REFUSED = {
    "reshape": Refused(
        X + " <int64[2] s = {1, 48}> { [flat] y = Reshape(x, s) }",
        {},
        (1, 3, 4, 4),
        (1, 3, 5, 4),
        "flat (Reshape) expects 48 elements for 1×48 and gets 60 (1×3×5×4)."
        " Its sizes 1×48 are the constant 's' of the file.",
    ),
    "reshape with one size open": Refused(
        X + " <int64[2] s = {-1, 48}> { [flat] y = Reshape(x, s) }",
        {},
        (2, 3, 4, 4),
        (1, 3, 5, 4),
        "flat (Reshape) expects a multiple of 48 elements for ?×48 and gets 60 (1×3×5×4)."
        " Its sizes -1×48 are the constant 's' of the file.",
    ),
    "channels": Refused(
        X + " { [conv] y = Conv(x, w) }",
        {"w": (4, 3, 3, 3)},
        (1, 3, 8, 8),
        (1, 5, 8, 8),
        "conv (Conv) expects 3 channels and gets 5 (1×5×8×8).",
    ),
    "channels of groups": Refused(
        X + " { [conv] y = Conv<group = 2>(x, w) }",
        {"w": (4, 3, 3, 3)},
        (1, 6, 8, 8),
        (1, 3, 8, 8),
        "conv (Conv) expects 6 channels and gets 3 (1×3×8×8).",
    ),
    "kernel larger than its input": Refused(
        X + " { [conv] y = Conv(x, w) }",
        {"w": (4, 3, 7, 7)},
        (1, 3, 7, 7),
        (1, 3, 6, 6),
        "conv (Conv) expects an input of at least its kernel's 7×7 and gets 6×6.",
    ),
    "transposed convolution": Refused(
        X + " { [up] y = ConvTranspose(x, w) }",
        {"w": (3, 4, 2, 2)},
        (1, 3, 4, 4),
        (1, 4, 4, 4),
        "up (ConvTranspose) expects 3 channels and gets 4 (1×4×4×4).",
    ),
    "pool": Refused(
        X + " { [pool] y = AveragePool<kernel_shape = [5, 5]>(x) }",
        {},
        (1, 3, 5, 5),
        (1, 3, 3, 3),
        "pool (AveragePool) expects an input of at least its kernel's 5×5 and gets 3×3.",
    ),
    "linear": Refused(
        X + " { f = Flatten(x) [fc] y = Gemm<transB = 1>(f, w) }",
        {"w": (10, 48)},
        (1, 3, 4, 4),
        (1, 3, 5, 4),
        "fc (Gemm) expects 48 features and gets 60 (1×60).",
    ),
    "product": Refused(
        X + " { [mm] y = MatMul(x, w) }",
        {"w": (6, 2)},
        (1, 1, 4, 6),
        (1, 1, 6, 4),
        "mm (MatMul) expects 6 features and gets 4 (1×1×6×4 @ 6×2).",
    ),
    "sum": Refused(
        X + " { [add] y = Add(x, w) }",
        {"w": (1, 3, 4, 4)},
        (2, 3, 4, 4),
        (2, 3, 5, 4),
        "add (Add) expects 2×3×5×4 and gets 1×3×4×4. 'w' is a constant of the file, of size 1×3×4×4.",
    ),
    "choice": Refused(
        X + " { c = Greater(x, z) [pick] y = Where(c, x, w) }",
        {"w": (4, 4), "z": (1,)},
        (2, 3, 4, 4),
        (2, 3, 4, 5),
        "pick (Where) expects 2×3×4×5 and gets 4×4.",
    ),
    "norm": Refused(
        X + " { [bn] y = BatchNormalization(x, a, a, a, v) }",
        {"a": (3,), "v": (3,)},
        (1, 3, 4, 4),
        (1, 4, 4, 4),
        "bn (BatchNormalization) expects 3 channels and gets 4 (1×4×4×4).",
    ),
    "layer norm": Refused(
        X + " { [ln] y = LayerNormalization(x, a) }",
        {"a": (6,)},
        (1, 2, 4, 6),
        (1, 2, 4, 5),
        "ln (LayerNormalization) expects last sizes 6 and gets 1×2×4×5.",
    ),
    "concatenation": Refused(
        X + " { [cat] y = Concat<axis = 1>(x, w) }",
        {"w": (1, 3, 4, 4)},
        (1, 5, 4, 4),
        (1, 3, 5, 4),
        "cat (Concat) expects equal sizes but in dimension 1: 1×3×5×4 and gets 1×3×4×4."
        " 'w' is a constant of the file, of size 1×3×4×4.",
    ),
    "expansion": Refused(
        X + " <int64[4] s = {1, 3, 4, 4}> { [grow] y = Expand(x, s) }",
        {},
        (2, 3, 1, 4),
        (2, 3, 2, 4),
        "grow (Expand) expects an input that can be expanded to 1×3×4×4 and gets 2×3×2×4."
        " Its sizes 1×3×4×4 are the constant 's' of the file.",
    ),
    "parts": Refused(
        X + " <int64[2] s = {2, 2}> { [cut] y, z = Split<axis = 1>(x, s) }",
        {},
        (1, 4, 2, 2),
        (1, 5, 2, 2),
        "cut (Split) expects 4 in dimension 1 and gets 5 (1×5×2×2)."
        " Its sizes 2×2 are the constant 's' of the file.",
    ),
    "slopes": Refused(
        X + " { [act] y = PRelu(x, w) }",
        {"w": (3, 1, 1)},
        (1, 3, 4, 4),
        (1, 4, 4, 4),
        "act (PRelu) expects an input that 3×1×1 slopes can be broadcast to and gets 1×4×4×4.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sizes_that_do_not_fit_are_never_a_result(name: str, tmp_path: Path) -> None:
    """onnxruntime refuses the same; what onnx's inference lets pass is found."""
    case = REFUSED[name]
    model = parsed(case.text, case.weights)
    shapes_of(model, tmp_path, {"x": case.good})
    path = tmp_path / "model.onnx"
    assert runs(path, {"x": numpy.ones(case.good, numpy.float32)})
    with pytest.raises(NodeError) as caught:
        shapes_of(model, tmp_path, {"x": case.bad})
    assert caught.value.message == case.message
    assert caught.value.layer
    assert not runs(path, {"x": numpy.ones(case.bad, numpy.float32)})


def test_recurrent_layers_check_their_features(tmp_path: Path) -> None:
    weights: dict[str, Shape] = {"w": (1, 32, 10), "r": (1, 32, 8)}
    model = parsed("agraph (float[S,N,F] x) => (y) { [rnn] y = LSTM<hidden_size = 8>(x, w, r) }", weights)
    assert shapes_of(model, tmp_path, {"x": (7, 2, 10)}).main.of("y").shape == (7, 1, 2, 8)
    with pytest.raises(NodeError, match=r"rnn \(LSTM\) expects 10 features and gets 9 \(7×2×9\)"):
        shapes_of(model, tmp_path, {"x": (7, 2, 9)})


def test_a_constant_far_before_the_refusal_is_named(tmp_path: Path) -> None:
    """The Reshape itself fits; the sum after it does not."""
    text = """agraph (float[N,3,H,W] x) => (y) <int64[3] target = {0, 12, -1}> {
        c = Conv<kernel_shape = [1, 1]>(x, w)
        [flatten] r = Reshape(c, target)
        t = Transpose<perm = [0, 2, 1]>(r)
        n = LayerNormalization(t, g)
        [pos] y = Add(n, positions)
    }"""
    model = parsed(text, {"w": (12, 3, 1, 1), "g": (12,), "positions": (1, 16, 12)})
    assert shapes_of(model, tmp_path, {"x": (2, 3, 4, 4)}).unknown == ()
    with pytest.raises(NodeError) as caught:
        shapes_of(model, tmp_path, {"x": (2, 3, 6, 4)})
    assert caught.value.message == (
        "pos (Add) expects 2×24×12 and gets 1×16×12. 'positions' is a constant of the file, of size 1×16×12."
    )
    assert "exported with a fixed size" in caught.value.hint
    assert caught.value.layer == "pos"


def test_operators_of_others_are_not_held_to_the_standard(tmp_path: Path) -> None:
    """A name says nothing in another domain."""
    model = parsed(
        "agraph (float[N,5,H,W] x) => (y) { a = mine.Conv(x, w) y = Relu(x) }", {"w": (4, 3, 3, 3)}
    )
    shapes = shapes_of(model, tmp_path, {"x": (1, 5, 8, 8)})
    assert shapes.unknown == ("Conv_0",)


def test_sizes_put_together_from_constants_are_named(tmp_path: Path) -> None:
    """As torch's older exporter writes ``x.view(1, height, 2, 3)``: the height is of the input, the rest is not."""
    model = parsed(
        """agraph (float[N,6,H] x) => (y) <int64[1] one = {1}, int64[1] two = {2}> {
            s = Shape(x) h = Gather(s, last) k = Add(one, two)
            target = Concat<axis = 0>(one, h, two, k)
            [view] y = Reshape(x, target)
        }"""
    )
    model.graph.initializer.extend(parsed("agraph () => () <int64[1] last = {2}> {}").graph.initializer)
    assert shapes_of(model, tmp_path, {"x": (1, 6, 5)}).main.of("y").shape == (1, 5, 2, 3)
    with pytest.raises(NodeError) as caught:
        shapes_of(model, tmp_path, {"x": (2, 6, 5)})
    assert caught.value.message == (
        "view (Reshape) expects 30 elements for 1×5×2×3 and gets 60 (2×6×5)."
        " Of its sizes 1×5×2×3, 1, 2, 3 are constants of the file."
    )


def test_a_constant_before_the_refusal_is_named(tmp_path: Path) -> None:
    """What follows of a fixed size is refused; splitting features into heads fixes none."""
    text = """agraph (float[N,C,H] x) => (y) <int64[3] target = {TARGET}> {
        [view] r = Reshape(x, target)
        e = Exp(r)
        [mm] y = MatMul(e, x)
    }"""
    fixed = parsed(text.replace("TARGET", "1, 4, 6"))
    assert shapes_of(fixed, tmp_path, {"x": (1, 6, 4)}).main.of("y").shape == (1, 4, 4)
    with pytest.raises(NodeError) as caught:
        shapes_of(fixed, tmp_path, {"x": (1, 3, 8)})
    assert caught.value.message == (
        "mm (MatMul) expects 3 features and gets 6 (1×4×6 @ 1×3×8)."
        " view (Reshape) before it has the fixed sizes 1×4×6, constant 'target'."
    )
    with pytest.raises(NodeError) as caught:
        shapes_of(parsed(text.replace("TARGET", "0, -1, 6")), tmp_path, {"x": (1, 3, 8)})
    assert caught.value.message == "mm (MatMul) expects 3 features and gets 6 (1×4×6 @ 1×3×8)."
    assert caught.value.hint.startswith("Choose another input shape")


def test_rows_before_the_refusal_are_kept(tmp_path: Path) -> None:
    model = parsed(
        X
        + """ <int64[2] s = {1, 64}> {
            [one] a = Conv(x, w) [two] b = Relu(a) [flat] c = Reshape(b, s) [last] y = Relu(c)
        }""",
        {"w": (4, 3, 3, 3)},
    )
    path = document(model, tmp_path).path
    session = open_model(str(path), LoadOptions())
    whole = session.analyze(Configuration((InputShape("x", (1, 3, 6, 6)),)))
    assert whole.layers.path == ("one", "two", "flat", "last")
    with pytest.raises(FailedAnalysisError) as caught:
        session.analyze(Configuration((InputShape("x", (1, 3, 8, 8)),)))
    assert caught.value.error.layer == "flat"
    partial = caught.value.partial
    assert partial is not None
    assert partial.layers.path == ("one", "two")
    assert partial.totals.macs == 6 * 6 * 4 * 3 * 9


def test_a_name_that_nothing_in_the_file_has_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Operators of other domains leave their own row open, and those of which nothing else is known."""
    model = parsed(
        """agraph (float[N,3] x) => (y) {
            a = Relu(x)
            b = mine.Special(a)
            c = MatMul(a, w)
            d = Relu(b)
            y = Add(c, c)
        }""",
        {"w": (3, 5)},
    )
    shapes = shapes_of(model, tmp_path, {"x": (2, 3)})
    assert shapes.unknown == ("Special_1", "Relu_3")
    assert shapes.main.of("y").shape == (2, 5)


def test_inference_stops_between_nodes(tmp_path: Path) -> None:
    engine = ShapeEngine(document(parsed("agraph (float[N,3] x) => (y) { y = Relu(x) }"), tmp_path))
    stop = Event()
    assert engine.infer([InputShape("x", (2, 3))], stop=stop).main.of("y").shape == (2, 3)
    stop.set()
    with pytest.raises(CancelledError):
        engine.infer([InputShape("x", (2, 3))], stop=stop)


# -- sizes that depend on data ---------------------------------------------------------------------------------------


def test_what_nonzero_finds_is_at_most_everything(tmp_path: Path) -> None:
    model = parsed(
        "agraph (float[N,4] x) => (y) { [find] i = NonZero(x) [turn] t = Transpose(i) y = GatherND(x, t) }"
    )
    shapes = shapes_of(model, tmp_path, {"x": (3, 4)})
    assert shapes.main.of("i").shape == (2, 12)
    assert shapes.main.of("y").shape == (12,)
    (assumption,) = shapes.assumptions
    assert (assumption.key, assumption.value, assumption.maximum) == ("find:NonZero", 12, 12)
    assert assumption.label == "find: elements found by NonZero"
    fewer = shapes_of(model, tmp_path, {"x": (3, 4)}, {"find:NonZero": 5})
    assert fewer.main.of("y").shape == (5,)
    # The bound follows the input; more than there is cannot be chosen.
    assert shapes_of(model, tmp_path, {"x": (1, 4)}, {"find:NonZero": 5}).main.of("y").shape == (4,)


def test_nms_keeps_at_most_what_it_may(tmp_path: Path) -> None:
    model = parsed(
        """agraph (float[N,B,4] boxes, float[N,C,B] scores) => (y) <int64[1] most = {7}, float[1] iou = {0.5}> {
            [nms] y = NonMaxSuppression(boxes, scores, most, iou)
        }"""
    )
    shapes = shapes_of(model, tmp_path, {"boxes": (2, 100, 4), "scores": (2, 3, 100)})
    assert shapes.main.of("y").shape == (2 * 3 * 7, 3)
    assert shapes.assumptions[0].label == "nms: boxes kept by NMS"
    assert shapes_of(model, tmp_path, {"boxes": (1, 5, 4), "scores": (1, 3, 5)}).main.of("y").shape == (15, 3)


def test_a_mask_of_constants_is_evaluated(tmp_path: Path) -> None:
    model = parsed(
        "agraph (float[N,4] x) => (y) <int64[4] m = {1, 0, 1, 1}> { i = NonZero(m) y = Identity(i) }"
    )
    shapes = shapes_of(model, tmp_path, {"x": (3, 4)})
    assert shapes.main.of("y").shape == (1, 3)
    assert shapes.assumptions == ()


def test_sizes_that_are_values_of_inputs_can_be_set(tmp_path: Path) -> None:
    model = parsed(
        """agraph (float[N,10] x, int64[1] k, int64 scale) => (y, z) <int64[1] three = {3}, int64[1] axis = {0}> {
            [top] y, i = TopK(x, k)
            s = Unsqueeze(scale, axis)
            d = Mul(s, three)
            z = ConstantOfShape(d)
        }"""
    )
    inputs: dict[str, Shape] = {"x": (4, 10), "k": (1,), "scale": ()}
    shapes = shapes_of(model, tmp_path, inputs)
    assert shapes.main.of("y").shape == (4, 10)
    assert {each.key: each.value for each in shapes.assumptions} == {"k[0]": 10, "scale": 1}
    chosen = shapes_of(model, tmp_path, inputs, {"k[0]": 2, "scale": 5})
    assert chosen.main.of("y").shape == (4, 2)
    assert chosen.main.of("z").shape == (15,)
    feeds: dict[str, Any] = {
        "x": numpy.zeros((4, 10), numpy.float32), "k": numpy.array([2]), "scale": numpy.array(5)
    }  # fmt: skip
    ran = run_shapes(tmp_path / "model.onnx", feeds)
    assert (ran["y"], ran["z"]) == ((4, 2), (15,))
