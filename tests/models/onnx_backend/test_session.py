"""A graph of ONNX gets no more memory and time than a batch may take, whatever it asks for."""

import gc
from itertools import pairwise

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from bc_sam.models.onnx_backend import session as limits
from bc_sam.models.onnx_backend.session import LimitError, Session, shared_memory

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
    with pytest.raises(LimitError, match=r"more than 0\.1 GB, a quarter of the memory of this machine"):
        opened(doubled(20)).run(["y"], {"x": np.ones(1024, np.float32)})


def test_one_model_takes_nothing_from_another(machine):
    hostile, own = opened(doubled(20)), opened(doubled(12))  # 24 MiB
    for _ in range(3):
        with pytest.raises(LimitError):
            hostile.run(["y"], {"x": np.ones(1024, np.float32)})
        assert own.run(["y"], {"x": np.ones(1024, np.float32)}) == [[2**22]]


def test_the_graphs_of_a_model_share_its_memory(machine):
    with shared_memory():
        one, other = Session(doubled(13), 1), Session(doubled(13), 1)  # 48 MiB each, which the first one keeps
        alone = Session(doubled(12), 1)
    x = {"x": np.ones(1024, np.float32)}
    assert [session.run(["y"], x)[0][0] for session in (one, other, alone)] == [2**23, 2**23, 2**22]
    with pytest.raises(LimitError):
        Session(doubled(14), 1).run(["y"], x)  # 96 MiB


def test_weights_do_not_count(machine):
    weights = numpy_helper.from_array(np.zeros(20 * MIB, np.float32), "weights")  # more than there is for a batch
    session = opened(graph([helper.make_node("ReduceSum", ["weights"], ["sum"]), _add("x", "sum", "y")], [weights]))
    assert session.run(["y"], {"x": np.ones(1, np.float32)}) == [[1]]


def test_memory_goes_with_the_model(machine):
    for _ in range(8):  # of which each takes more than half
        assert opened(doubled(13)).run(["y"], {"x": np.ones(1024, np.float32)}) == [[2**23]]
        gc.collect()


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
