"""Per-layer times: exclusive times with a clock of our own, what adds up, fused kernels, rows that depend on data."""

from __future__ import annotations

import threading
from threading import Event
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from engine.api import analyze_columns, open_session
from engine.edits import RemoveLayer
from engine.errors import CancelledError
from engine.latency import layer_times, op_times
from engine.latency.attribution import ALONE, BY_OPERATIONS, DID_NOT_RUN, divide, match_rows, shares
from engine.latency.disturbed import least_disturbed
from engine.latency.layers import Passes, both_times, summarize
from engine.latency.module_timer import PassTimes, hook_cost, time_modules
from engine.latency.ops import Executed, OpPass, op_pass
from engine.latency.passes import paced
from engine.measurement import LayerTimes
from engine.session import Session


class Ticks:
    """A clock that only the tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Takes(nn.Module):
    """Takes that long by the clock of the test, and calls its child, if it has one, ``times``."""

    def __init__(self, ticks: Ticks, seconds: float, child: nn.Module | None = None, times: int = 1) -> None:
        super().__init__()
        self.ticks, self.seconds, self.child, self.times = ticks, seconds, child, times

    def forward(self, x: Tensor) -> Tensor:
        self.ticks.now += self.seconds
        for _ in range(self.times if self.child is not None else 0):
            assert self.child is not None
            x = self.child(x)
        return x + 1


def paths(model: nn.Module) -> dict[int, str]:
    return {id(module): path for path, module in model.named_modules()}


def run(model: nn.Module, ticks: Ticks) -> PassTimes:
    return time_modules(lambda: model(torch.zeros(1)), paths(model), ticks)


def test_a_parents_time_is_without_its_childrens() -> None:
    ticks = Ticks()
    model = Takes(ticks, 2, Takes(ticks, 3, Takes(ticks, 5), times=2))
    times = run(model, ticks)
    assert times.self_s == {"": 2, "child": 3, "child.child": 2 * 5}
    assert times.total_s == 2 + 3 + 2 * 5
    assert times.children == {"": 2, "child": 2, "child.child": 0}  # the model itself is a timed call, too
    assert times.calls == 4
    assert times.containers == {"", "child"}


def test_a_model_without_submodules_is_a_layer() -> None:
    ticks = Ticks()
    assert run(Takes(ticks, 1), ticks).containers == frozenset()
    _, times = measured(nn.Linear(4, 4), (2, 4))
    assert times.note == ("",)
    assert times.unattributed_s == 0


def test_a_shared_module_has_the_time_of_all_its_calls_under_its_first_path() -> None:
    ticks = Ticks()
    shared = Takes(ticks, 7)
    times = run(nn.Sequential(shared, nn.Identity(), shared), ticks)
    assert times.self_s["0"] == 2 * 7
    assert "2" not in times.self_s


def test_a_module_made_in_forward_runs_in_its_callers_name() -> None:
    ticks = Ticks()

    class Makes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Takes(ticks, 4)(x)  # type: ignore[no-any-return]

    assert run(Makes(), ticks).self_s == {"": 4}


def test_modules_that_other_threads_call_are_in_their_callers_time() -> None:
    ticks = Ticks()
    entered, left = Event(), Event()

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            entered.set()
            assert left.wait(60)
            return x

    class Leaves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert entered.wait(60)
            ticks.now += 3
            return x

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.elsewhere, self.here = Waits(), Leaves()

        def forward(self, x: Tensor) -> Tensor:
            other = threading.Thread(target=self.elsewhere, args=(x,))
            other.start()
            self.here(x)
            ticks.now += 4
            left.set()
            other.join()
            return x

    times = run(Both(), ticks)
    assert times.self_s == {"here": 3, "": 4}
    assert times.calls == 2


def test_the_time_outside_the_model_is_the_models() -> None:
    ticks = Ticks()
    model = Takes(ticks, 1)

    def forward() -> None:
        ticks.now += 10
        model(torch.zeros(1))

    assert time_modules(forward, paths(model), ticks).self_s == {"": 11}


def test_a_failing_forward_leaves_module_calls_as_they_were() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    before = nn.Module.__call__
    with pytest.raises(RuntimeError, match="no"):
        run(nn.Sequential(Fails()), Ticks())
    assert nn.Module.__call__ is before


def test_the_cost_of_timing_a_call_is_calibrated_once() -> None:
    cost = hook_cost()
    assert 0 < cost < 1e-3
    assert hook_cost() == cost


# -- dividing among rows -----------------------------------------------------------------------------------------


def test_shares_divide_all_of_a_leaf_and_only_the_operations_of_a_container() -> None:
    times = {"leaf": 10.0, "block": 10.0, "bare": 3.0, "quick": 2.0}
    ops = {"leaf": {"a": 1.0, "b": 3.0}, "block": {"c": 4.0}, "quick": {"d": 6.0, "e": 2.0}}
    rows, rest = divide(times, shares(times, {"block", "quick"}, ops))
    assert rows == {"a": 2.5, "b": 7.5, "c": 4.0, "d": 1.5, "e": 0.5}
    assert rest == 6.0 + 3.0


def test_operations_of_no_row_leave_their_share_unattributed() -> None:
    rows, rest = divide({"leaf": 8.0}, shares({"leaf": 8.0}, (), {"leaf": {"a": 3.0, "": 1.0}}))
    assert rows == {"a": 6.0}
    assert rest == 2.0


def test_a_module_whose_operations_are_too_short_to_time_divides_evenly() -> None:
    parts = shares({"leaf": 8.0}, (), {"leaf": {"a": 0.0, "b": 0.0}})
    assert divide({"leaf": 8.0}, parts) == ({"a": 4.0, "b": 4.0}, 0.0)


def test_a_negative_rest_is_kept_in_the_sum() -> None:
    """The calibrated cost can be too high for a container; no row gets negative time, and nothing is lost."""
    rows, rest = divide({"block": -1.0}, shares({"block": -1.0}, {"block"}, {"block": {"a": 2.0}}))
    assert rows == {"a": 0.0}
    assert rest == -1.0


class Block(nn.Module):
    """Rows of every kind: layers, an operation of a container, a leaf with two operations, an idle row for edits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = Swish()
        self.extra = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        return self.extra(x) + x  # type: ignore[no-any-return]


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


def executed(session: Session) -> list[OpPass]:
    with session.real(session.default_configuration()) as model, torch.inference_mode():
        return [op_pass(model)]


def test_rows_unattributed_time_and_hooks_add_up_to_the_instrumented_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.latency.layers.hook_cost", lambda clock: 0.5)
    session = open_session(Block().eval(), (1, 3, 8, 8))
    layers = analyze_columns(session).layers
    timed = PassTimes(
        106.0,
        {"": 20.0, "conv": 50.0, "act": 30.0, "extra": 6.0},
        {"": 4, "conv": 0, "act": 0, "extra": 0},
    )
    passes = Passes(
        [(100.0, 0.0), (104.0, 0.0), (102.0, 0.0)], [(timed, 0.0)] * 3, [(timed, timed)], executed(session)
    )
    times = summarize(session.default_configuration(), 2, layers, passes)
    assert times.row_id == layers.id
    found = dict(zip(times.row_id, times.latency_s, strict=True))
    assert found["conv:conv2d"] == 50.0
    assert found["extra:conv2d"] == 6.0
    assert found["act:sigmoid"] + found["act:mul"] == pytest.approx(30.0)  # type: ignore[operator]
    assert times.hook_calls == 4
    assert times.rows_s + times.unattributed_s + 0.5 * 4 == pytest.approx(times.instrumented_s)
    assert times.cpu_s == pytest.approx(times.latency_s)
    assert times.end_to_end_s == 102.0
    assert times.coverage == pytest.approx(104 / 102)
    assert times.flags == ()
    notes = dict(zip(times.row_id, times.note, strict=True))
    assert notes == {
        "conv:conv2d": "", "act:sigmoid": BY_OPERATIONS, "act:mul": BY_OPERATIONS, "extra:conv2d": "", ":add": ALONE
    }  # fmt: skip


def test_no_layer_keeps_more_cores_busy_than_there_are_threads() -> None:
    """The passes whose CPU time was read took longer than those of the wall time."""
    session = open_session(Block().eval(), (1, 3, 8, 8))
    layers = analyze_columns(session).layers
    one = {"": 0.0, "conv": 50.0, "act": 30.0, "extra": 20.0}
    calls = {"": 0, "conv": 0, "act": 0, "extra": 0}
    quick = PassTimes(100.0, one, calls)
    long = PassTimes(200.0, {path: 2 * seconds for path, seconds in one.items()}, calls)
    cpu = PassTimes(200.0, {"": 0.0, "conv": 90.0, "act": 60.0, "extra": 40.4}, calls)
    passes = Passes([(100.0, 0.0)] * 3, [(quick, 0.0)] * 3, [(long, cpu)], executed(session))
    times = summarize(session.default_configuration(), 1, layers, passes)
    cells = zip(times.row_id, times.cpu_s, times.latency_s, strict=True)
    busy = {row: cpu_s / wall for row, cpu_s, wall in cells if cpu_s is not None and wall}
    assert busy["conv:conv2d"] == pytest.approx(90 / 100)
    assert busy["extra:conv2d"] == 1


def test_both_clocks_are_read_in_one_pass() -> None:
    at = iter([complex(0, 0), complex(1, 1), complex(4, 2), complex(5, 3)])
    model = nn.Sequential(nn.Identity())
    only = {id(model[0]): "0"}
    wall, cpu = both_times(time_modules(lambda: model(torch.zeros(1)), only, lambda: next(at)))  # type: ignore[arg-type, return-value]
    assert (wall.total_s, wall.self_s) == (5, {"0": 3, "": 2})
    assert (cpu.total_s, cpu.self_s) == (3, {"0": 1, "": 2})


def test_disturbed_passes_are_left_out_where_there_are_others() -> None:
    assert least_disturbed([("a", 0.0), ("b", 0.5), ("c", 0.01), ("d", 0.02)]) == ["a", "c", "d"]
    assert least_disturbed([("a", 0.3), ("b", 0.5), ("c", 0.0), ("d", 0.4)]) == ["c", "a"]
    assert least_disturbed([("a", 0.3)]) == ["a"]


def test_layers_of_disturbed_passes_carry_a_flag() -> None:
    session = open_session(Block().eval(), (1, 3, 8, 8))
    timed = PassTimes(100.0, {"": 100.0}, {"": 0})
    layers = analyze_columns(session).layers
    passes = Passes([(100.0, 0.2)] * 5, [(timed, 0.0)] * 5, [], executed(session))
    (flag,) = summarize(session.default_configuration(), 1, layers, passes).flags
    assert flag.key == "preempted"
    assert "5 of 10" in flag.detail


@pytest.mark.parametrize(("plain", "flags"), [(120.0, {"coverage"}), (90.0, {"coverage", "overhead"})])
def test_what_does_not_add_up_is_flagged(plain: float, flags: set[str]) -> None:
    session = open_session(Block().eval(), (1, 3, 8, 8))
    timed = PassTimes(105.0, {"": 105.0}, {"": 0})
    passes = Passes([(plain, 0.0)], [(timed, 0.0)], [], executed(session))
    times = summarize(session.default_configuration(), 1, analyze_columns(session).layers, passes)
    assert {flag.key for flag in times.flags} == flags
    assert set(times.cpu_s) == {None}


# -- rows of a real pass -----------------------------------------------------------------------------------------


def measured(model: nn.Module, shape: tuple[int, ...]) -> tuple[Session, LayerTimes]:
    session = open_session(model.eval(), shape)
    return session, layer_times(session, session.default_configuration(), 1, Event())


def test_every_row_has_a_time_or_says_why_not() -> None:
    session, times = measured(Block(), (1, 3, 16, 16))
    assert times.row_id == analyze_columns(session).layers.id
    assert times.configuration == session.default_configuration()
    assert times.threads == 1
    assert all(value is not None and value >= 0 for value in times.latency_s)
    assert 1 <= times.repeats <= 40
    assert times.hook_calls == 4  # the model and its three modules


def test_a_removed_layer_is_not_timed() -> None:
    session = open_session(Block().eval(), (1, 3, 8, 8))
    configuration = session.default_configuration()
    edited = type(configuration)(configuration.inputs, (RemoveLayer("extra"),))
    times = layer_times(session, edited, 1, Event())
    assert "extra:conv2d" not in times.row_id
    assert times.row_id == session.analyze(edited).layers.id


def test_fused_attention_is_one_time_with_a_note() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.fc = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.attention(x, x, x, need_weights=False)[0])  # type: ignore[no-any-return]

    _, times = measured(Attends(), (2, 5, 16))
    rows = {
        row: (value, note)
        for row, value, note in zip(times.row_id, times.latency_s, times.note, strict=True)
        if row.startswith("attention")
    }
    timed = [row for row, (value, _) in rows.items() if value is not None]
    assert timed == ["attention:linear"]  # the first that computes; the analysis has views before it
    assert rows["attention.out_proj:linear"][0] is None
    assert all("_native_multi_head_attention" in note for _, note in rows.values())
    assert "one kernel" in rows["attention:linear"][1]
    assert times.latency_s[times.row_id.index("fc:linear")] is not None


def test_a_fused_encoder_layer_takes_the_rows_of_modules_it_does_not_call() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, batch_first=True)
    _, times = measured(nn.TransformerEncoder(layer, 2), (2, 5, 16))
    timed = [row for row, value in zip(times.row_id, times.latency_s, strict=True) if value is not None]
    assert timed == ["layers.0.self_attn:linear", "layers.1.self_attn:linear"]
    assert not any(note == DID_NOT_RUN for note in times.note)


def test_an_operation_of_another_size_counts_in_the_row_of_its_kind() -> None:
    """Detectors: what was assumed about the data is not what the data is."""

    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            chosen = x[x[:, 0] > 0]
            if len(chosen) == len(x):
                chosen = chosen.tanh()
            return self.fc(chosen)  # type: ignore[no-any-return]

    _, times = measured(Picks(), (64, 4))
    rows = dict(zip(times.row_id, times.latency_s, strict=True))
    notes = dict(zip(times.row_id, times.note, strict=True))
    assert rows["fc:linear"] is not None
    assert rows[":index"] is not None
    assert rows[":tanh"] is None  # the analysis assumes that all are chosen
    assert notes[":tanh"] == DID_NOT_RUN


def test_matching_by_owner_and_operation() -> None:
    session = open_session(Block().eval(), (1, 3, 8, 8))
    layers = analyze_columns(session).layers
    variant = Executed("conv2d", "conv:conv2d#2", "conv", "conv", True, ())
    query = Executed("is_nonzero", "", "", "", False, ())
    other = Executed("tanh", ":tanh", "", "", False, ())
    match = match_rows([variant, query, other], {"", "conv", "act", "extra"}, layers)
    assert match.row_of == {variant: "conv:conv2d", query: "", other: ""}
    assert match.notes["extra:conv2d"] == DID_NOT_RUN
    assert "conv:conv2d" not in match.notes


# -- drill-down, stopping ----------------------------------------------------------------------------------------


def test_operations_in_order_with_the_rows_of_the_analysis() -> None:
    session = open_session(Block().eval(), (1, 3, 8, 8))
    ops = op_times(session, session.default_configuration(), 1, Event())
    assert ops.op == ("conv2d", "sigmoid", "mul", "conv2d", "add")
    assert ops.path == ("conv", "act", "act", "extra", "")
    assert ops.row_id == analyze_columns(session).layers.id
    assert ops.output_shapes[0] == ((1, 4, 6, 6),)
    assert len(ops.latency_s) == len(ops.op)
    assert all(value >= 0 for value in ops.latency_s)
    assert ops.end_to_end_s > 0


def test_a_fused_operation_belongs_to_no_row_of_the_analysis() -> None:
    session = open_session(nn.TransformerEncoderLayer(16, 4, batch_first=True).eval(), (2, 5, 16))
    ops = op_times(session, session.default_configuration(), 1, Event())
    assert ops.op == ("_transformer_encoder_layer_fwd",)
    assert ops.row_id == ("",)


class StopsItself(nn.Module):
    """Sets an event in its sixth real forward pass."""

    stop = Event()  # of the class: instances are copied
    runs: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            self.runs.append(len(self.runs))
            if len(self.runs) == 6:
                self.stop.set()
        return self.fc(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("measure", [layer_times, op_times])
def test_stop_ends_it_within_one_round(measure: Any) -> None:
    before = nn.Module.__call__
    StopsItself.stop.clear()
    StopsItself.runs.clear()
    session = open_session(StopsItself().eval(), (2, 4))
    with pytest.raises(CancelledError):
        measure(session, session.default_configuration(), 1, StopsItself.stop)
    assert len(StopsItself.runs) <= 6 + 2  # a round is at most three passes
    assert nn.Module.__call__ is before


def test_a_slow_model_gets_one_round_and_a_quick_one_all() -> None:
    assert list(paced((5, 15), 1e9, Event())) == list(range(15))
    assert list(paced((5, 15), 0.0, Event())) == [0]
