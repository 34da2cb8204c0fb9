"""A graph of ONNX gets no more memory and time than a batch may take, whatever it asks for."""

import gc
from itertools import pairwise

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from bc_sam.models.onnx_backend import session as limits
from bc_sam.models.onnx_backend.session import LimitError, Session, shared_memory
from bc_sam.utils.malloc import return_freed_memory

MIB = 2**20


def graph(nodes, weights=()):
    """A file from x (n,) to y (m,), float32."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy")
    inner = helper.make_graph(nodes, "graph", [x], [y], list(weights))
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def doubled(times):
    """A graph that doubles its input so many times, and adds it up."""
    names = ["x", *(f"x{time}" for time in range(times))]
    nodes = [helper.make_node("Concat", [one, one], [two], axis=0) for one, two in pairwise(names)]
    return graph([*nodes, helper.make_node("ReduceSum", [names[-1]], ["y"])])


def _add(one, other, output):
    return helper.make_node("Add", [one, other], [output])


@pytest.fixture
def machine(monkeypatch):
    """A machine with 256 MiB."""
    monkeypatch.setattr(limits, "total_memory", lambda: 256 * MIB)


def opened(content):
    with shared_memory():
        return Session(content, n_threads=1)


def test_a_graph_is_computed(machine):
    assert opened(doubled(3)).run(["y"], {"x": np.ones(1024, np.float32)}) == [[8192]]


def test_a_graph_that_needs_too_much_memory_is_not(machine):
    with pytest.raises(LimitError, match=r"a batch needs more than 0\.1 GB, the limit here"):
        opened(doubled(20)).run(["y"], {"x": np.ones(1024, np.float32)})


def test_one_model_takes_nothing_from_another(machine):
    hostile, own = opened(doubled(20)), opened(doubled(12))  # 24 MiB
    for _ in range(3):
        with pytest.raises(LimitError):
            hostile.run(["y"], {"x": np.ones(1024, np.float32)})
        assert own.run(["y"], {"x": np.ones(1024, np.float32)}) == [[2**22]]


def test_the_graphs_of_a_model_share_its_memory(machine):
    ten = numpy_helper.from_array(np.array([10]), "ten")
    tiled = graph([helper.make_node("Tile", ["x", "ten"], ["z"]), helper.make_node("ReduceSum", ["z"], ["y"])], [ten])
    with shared_memory():
        first, other = Session(doubled(13), 1), Session(tiled, 1)
    first.run(["y"], {"x": np.ones(1024, np.float32)})  # which keeps blocks of 32 MiB and less
    x = {"x": np.ones(MIB, np.float32)}  # and 40 MiB are needed
    with pytest.raises(LimitError):
        other.run(["y"], x)
    assert opened(tiled).run(["y"], x) == [[10 * MIB]]


def test_weights_do_not_count(machine):
    weights = numpy_helper.from_array(np.zeros(20 * MIB, np.float32), "weights")  # more than there is for a batch
    session = opened(graph([helper.make_node("ReduceSum", ["weights"], ["sum"]), _add("x", "sum", "y")], [weights]))
    assert session.run(["y"], {"x": np.ones(1, np.float32)}) == [[1]]


def test_memory_goes_with_the_model(machine):
    def resident():
        gc.collect()
        return_freed_memory()  # which the C library would keep
        return psutil.Process().memory_info().rss

    def computed(n):
        sessions = [opened(doubled(13)) for _ in range(n)]  # 48 MiB each
        assert [session.run(["y"], {"x": np.ones(1024, np.float32)}) for session in sessions] == [[[2**23]]] * n
        return resident()

    before = computed(1)
    assert computed(8) > before + 8 * 40 * MIB
    assert resident() < before - 30 * MIB


def test_a_graph_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(limits, "_MOST_SECONDS", 0.05)
    nodes = [helper.make_node("Reshape", ["x", "square"], ["z0"])]
    nodes += [helper.make_node("MatMul", ["z0", f"z{index}"], [f"z{index + 1}"]) for index in range(100)]
    nodes += [helper.make_node("ReduceSum", ["z100"], ["y"])]
    square = numpy_helper.from_array(np.array([1000, 1000]), "square")
    with pytest.raises(LimitError, match=r"a batch takes more than 0\.05 seconds"):
        opened(graph(nodes, [square])).run(["y"], {"x": np.ones(1_000_000, np.float32)})


def test_other_errors_are_those_of_the_runtime(machine):
    with pytest.raises(Exception, match="missing from input feed"):
        opened(doubled(1)).run(["y"], {"z": np.ones(1024, np.float32)})
