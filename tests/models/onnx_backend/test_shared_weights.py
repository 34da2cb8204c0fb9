"""An export leaves out the weights that its model has, and gets them back when it is opened."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_model import small_model

from bc_sam import load_model
from bc_sam.errors import WeightsError
from bc_sam.models.folder import hash_file, load_config, write_config
from bc_sam.models.onnx_backend.shared_weights import NetworkWeights, put_back, take_out
from bc_sam.networks.features import inference_sam

MATRIX = np.random.default_rng(0).standard_normal((48, 32)).astype(np.float32)


def product_with(matrix, name="weight"):
    """A graph that multiplies with a matrix."""
    x, y = (helper.make_tensor_value_info(side, TensorProto.FLOAT, ["n", None]) for side in "xy")
    nodes = [helper.make_node("MatMul", ["x", name], ["y"])]
    graph = helper.make_graph(nodes, "product", [x], [y], [numpy_helper.from_array(matrix, name)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def product(content, x):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("stored", [MATRIX, MATRIX.T], ids=["as it is", "transposed"])
def test_a_weight_is_taken_out_and_put_back(stored):
    graph, weights = product_with(MATRIX), {"other": MATRIX + 1, "layer.weight": np.ascontiguousarray(stored)}
    whole = graph.SerializeToString()
    shared = take_out(graph, weights)
    content = graph.SerializeToString()
    assert shared == {"weight": "layer.weight" if stored is MATRIX else "layer.weight.T"}
    assert len(content) < len(whole) - MATRIX.nbytes
    assert onnx.load_from_string(put_back(content, shared, weights, 10**6)) == onnx.load_from_string(whole)
    x = np.ones((2, 48), np.float32)
    np.testing.assert_array_equal(product(put_back(content, shared, weights, 10**6), x), product(whole, x))


def test_a_weight_that_the_model_does_not_have_stays():
    graph = product_with(MATRIX)
    assert take_out(graph, {"layer.weight": MATRIX * 1.001}) == {}
    assert graph == product_with(MATRIX)


@pytest.mark.parametrize("shared", [{"weight": "no.such"}, {"weight": 3}, ["weight"], {"\ud800": "layer"}])
def test_a_weight_that_cannot_be_found_is_an_error(shared):
    with pytest.raises(WeightsError, match="Export it again"):
        put_back(b"", shared, {"layer": MATRIX}, 10**6)


def test_one_weight_named_ever_so_often_is_an_error():
    shared = {str(number): "layer" for number in range(10**5)}
    with pytest.raises(WeightsError, match="more than 1 MB of weights"):
        put_back(b"", shared, {"layer": MATRIX}, 10**6)


def test_weights_are_those_of_the_merged_networks(exported_model):
    model, weights = load_model(exported_model, device="cpu", dtype="float32"), NetworkWeights(exported_model)
    tensors = {f"sam.{name}": tensor for name, tensor in inference_sam(model.adapter, "cpu").state_dict().items()}
    tensors |= model.autoencoder.state_dict()
    assert tensors.keys() - set(weights) <= {  # which is saved under its other name
        "sam.prompt_encoder.shared_embedding.positional_embedding",
        "sam.shared_image_embedding.positional_embedding",
    }
    for name, tensor in weights.items():
        np.testing.assert_allclose(tensor, tensors[name], atol=1e-6)


def test_an_export_has_no_weights_of_its_own(exported_model, tmp_path):
    graph = onnx.load(exported_model / "onnx" / "networks.onnx")
    shared = json.loads((exported_model / "onnx" / "shared_weights.json").read_text())
    assert {"sam.vision_encoder.layers.1.attn.qkv.weight.T", "encoder.3.weight"} <= set(shared.values())
    assert not shared.keys() & {initializer.name for initializer in graph.graph.initializer}


def test_one_that_asks_for_another_tensor_is_refused(exported_model, tmp_path):
    folder = shutil.copytree(exported_model, tmp_path / "model")
    path = folder / "onnx" / "shared_weights.json"
    shared = json.loads(path.read_text())
    path.write_text(json.dumps(dict.fromkeys(shared, "encoder.0.weight")))
    config = load_config(folder)
    config.files["onnx/shared_weights.json"] = hash_file(path)
    write_config(config, folder / "config.json")
    with pytest.raises(WeightsError, match="is not a graph that this version of ONNX Runtime can open"):
        load_model(folder, backend="onnx")


def test_the_weights_of_a_base_on_the_hub_stay_in_the_graph(tmp_path):
    folder = small_model(classifiers=("logistic",)).save_pretrained(tmp_path / "model")
    with_base = set(NetworkWeights(folder))
    shutil.rmtree(folder / "base")
    without = set(NetworkWeights(folder))
    assert with_base - without == {name for name in with_base if name.startswith("sam.")}
