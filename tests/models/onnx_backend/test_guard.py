"""An ONNX file is checked before ONNX Runtime opens it."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model

from bc_sam.errors import UntrustedFileError
from bc_sam.models.onnx_backend.guard import read_guarded


@pytest.fixture
def graph():
    """A graph that adds 1 to its input."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1024]) for name in "xy")
    one = numpy_helper.from_array(np.ones(1024, np.float32), "one")
    return helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "add", [x], [y], [one]))


def test_a_file_with_all_of_its_weights_is_read(graph, tmp_path):
    save_model(graph, tmp_path / "model.onnx")
    assert read_guarded(tmp_path / "model.onnx", 10_000) == graph.SerializeToString()


def test_a_reference_to_another_file_is_refused(graph, tmp_path):
    save_model(graph, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(UntrustedFileError, match="refers to other files"):
        read_guarded(tmp_path / "model.onnx", 10_000)


def test_so_is_one_that_only_an_attribute_has(graph, tmp_path):
    outside = TensorProto(name="one", dims=[1024], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="weights")
    graph.graph.node.append(helper.make_node("Constant", [], ["two"], value=outside))
    save_model(graph, tmp_path / "model.onnx")
    with pytest.raises(UntrustedFileError, match="refers to other files"):
        read_guarded(tmp_path / "model.onnx", 10_000)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "model.onnx").write_bytes(bytes(2_000_000))
    with pytest.raises(UntrustedFileError, match=r"has 2 MB, more than .* \(1 MB\)\. It was not opened\."):
        read_guarded(tmp_path / "model.onnx", 1_000_000)


def refused(graph, tmp_path, message):
    save_model(graph, tmp_path / "model.onnx")
    with pytest.raises(UntrustedFileError, match=f"has {message}, which an export of bc_sam never has"):
        read_guarded(tmp_path / "model.onnx", 10_000)


def test_a_loop_is_refused(graph, tmp_path):
    body = helper.make_graph([], "body", [], [])
    graph.graph.node.append(helper.make_node("Loop", ["", "always"], ["z"], body=body))
    refused(graph, tmp_path, "loops or branches")


def test_so_is_a_function_which_could_have_one(graph, tmp_path):
    graph.functions.append(helper.make_function("own", "Add", ["x"], ["y"], [], []))
    refused(graph, tmp_path, "functions")


@pytest.mark.parametrize(
    ("operator", "domain"), [("Unique", ""), ("StringConcat", "ai.onnx"), ("Add", "com.example"), ("", "")]
)
def test_so_are_operators_that_no_export_has(graph, tmp_path, operator, domain):
    graph.graph.node.append(helper.make_node(operator, ["x", "x"], ["z"], domain=domain))
    refused(graph, tmp_path, f"the operator '{operator}'")


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(np.array(["a" * 99], object))),
        helper.make_node("Constant", [], ["z"], value_string="a" * 99),
        helper.make_node(
            "LinearClassifier", ["x"], ["y", "z"], domain="ai.onnx.ml", coefficients=[1.0], classlabels_strings=["a"]
        ),
    ],
)
def test_so_are_texts_which_take_memory_that_nobody_counts(graph, tmp_path, node):
    graph.graph.node.append(node)
    refused(graph, tmp_path, "texts")


def test_so_are_texts_among_the_weights(graph, tmp_path):
    graph.graph.initializer.append(numpy_helper.from_array(np.array(["a" * 99], object), "z"))
    refused(graph, tmp_path, "texts")


def test_so_are_sparse_weights_which_may_be_far_larger_than_their_file(graph, tmp_path):
    values, indices = numpy_helper.from_array(np.ones(1, np.float32), "z"), numpy_helper.from_array(np.zeros(1, int))
    sparse = helper.make_sparse_tensor(values, indices, [2**30])
    graph.graph.sparse_initializer.append(sparse)
    refused(graph, tmp_path, "sparse weights")
    del graph.graph.sparse_initializer[:]
    graph.graph.node.append(helper.make_node("Constant", [], ["z"], sparse_value=sparse))
    refused(graph, tmp_path, "sparse weights")


def test_a_file_that_would_swallow_the_weights_appended_to_it_is_refused(graph, tmp_path):
    """They could hold a reference to another file, which is looked for in the file alone."""
    swallowing = ModelProto(doc_string=" " * 100).SerializeToString()[:-100]
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString() + swallowing)
    with pytest.raises(UntrustedFileError, match="is no complete ONNX file"):
        read_guarded(tmp_path / "model.onnx", 10_000)
