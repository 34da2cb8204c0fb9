"""Classifiers as ONNX graphs from embeddings to the probabilities of their classes."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.errors import BCSamError
from bc_sam.models.onnx_backend.files import EMBEDDINGS, PROBABILITIES

if TYPE_CHECKING:  # needs the export extra
    from onnx import GraphProto, ModelProto

#: Versions of the operators, of ONNX and of its classical classifiers.
OPSETS = {"": 18, "ai.onnx.ml": 3}


def classifier_graphs(classifiers: Mapping[str, LatentClassifier], n_features: int) -> "dict[str, ModelProto]":
    """Converts fitted classifiers.

    Args:
        classifiers: The classifiers by the name of their kind.
        n_features: Dimension d of the embeddings.

    Returns:
        A graph for each, from `EMBEDDINGS` to the `PROBABILITIES` of its k classes.

    Raises:
        BCSamError: If some cannot be converted; the message names all of them.
    """
    graphs, failed = {}, {}
    for name, classifier in classifiers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # skl2onnx reads attributes that scikit-learn 1.9 deprecates
                graphs[name] = _convert(classifier.estimator, n_features)
        except Exception as error:  # converters raise many unrelated exception types
            failed[name] = f"{name} ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    if failed:
        raise BCSamError(
            f"ONNX cannot express the classifiers {', '.join(failed.values())}. Load the model without them: "
            'classifiers=[...] or "default".'
        )
    return graphs


def _convert(estimator: Any, n_features: int) -> "ModelProto":
    """Returns the graph of one fitted estimator."""
    from onnx.utils import Extractor
    from sklearn.ensemble import RandomForestClassifier

    if isinstance(estimator, RandomForestClassifier):
        return _model(_forest_graph(estimator, n_features))
    if type(estimator).__module__.startswith("xgboost."):
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        converted = convert_xgboost(
            estimator, initial_types=[(EMBEDDINGS, FloatTensorType([None, n_features]))], target_opset=_XGBOOST_OPSET
        )
        return _pinned(Extractor(converted).extract_model([EMBEDDINGS], [PROBABILITIES]))
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    converted = convert_sklearn(
        estimator,
        initial_types=[(EMBEDDINGS, FloatTensorType([None, n_features]))],
        options={id(last): {"zipmap": False}},
        target_opset=OPSETS,
    )
    return _pinned(Extractor(converted).extract_model([EMBEDDINGS], [PROBABILITIES]))


# The latest that onnxmltools 1.16 converts XGBoost to. The only operator of such a graph is one of ai.onnx.ml.
_XGBOOST_OPSET = 15


def _pinned(model: "ModelProto") -> "ModelProto":
    """Sets the versions of the operators to `OPSETS`, which the converters lower where the graph allows it."""
    from onnx import helper, version_converter

    given = {entry.domain: entry.version for entry in model.opset_import}
    if given.get("", OPSETS[""]) != OPSETS[""]:
        model = version_converter.convert_version(model, OPSETS[""])
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*entry) for entry in OPSETS.items())
    return model


def _model(graph: "GraphProto") -> "ModelProto":
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*entry) for entry in OPSETS.items()])


def _forest_graph(forest: Any, n_features: int) -> "GraphProto":
    """Returns a random forest as table look-ups: all trees descend by one level at a time.

    skl2onnx 1.20 lists tree, node and class of every weight, which takes 17 times the room and, for bc-sam-tiny, 0.8 s
    to load: as long as all else together.
    """
    from onnx import TensorProto, helper, numpy_helper

    trees = [member.tree_ for member in forest.estimators_]
    features, thresholds, children, roots, leaf_values = _forest_tables(trees)
    constants = {
        "features": features.astype(np.int8 if n_features <= 128 else np.int32),
        "thresholds": thresholds,
        "children": children.astype(np.int32).ravel(),  # of node i: 2 i if the feature is at most the threshold
        "leaf_values": leaf_values.astype(np.float32),
        "roots": roots.astype(np.int32)[None],
        "first_leaf": np.array(len(features) - len(leaf_values), np.int32),
        "two": np.array(2, np.int32),
        "trees_axis": np.array([1], np.int64),
        "n_trees": np.array([len(trees)], np.int64),
    }
    nodes = [
        helper.make_node("Shape", [EMBEDDINGS], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "n_trees"], ["shape"], axis=0),
        helper.make_node("Expand", ["roots", "shape"], ["node_0"]),
    ]
    depth = max(tree.max_depth for tree in trees)
    for level in range(depth):
        at, next_at = f"node_{level}", f"node_{level + 1}"
        nodes += [
            helper.make_node("Gather", ["features", at], [f"small_{level}"]),
            helper.make_node("Cast", [f"small_{level}"], [f"feature_{level}"], to=TensorProto.INT32),
            helper.make_node("GatherElements", [EMBEDDINGS, f"feature_{level}"], [f"value_{level}"], axis=1),
            helper.make_node("Gather", ["thresholds", at], [f"threshold_{level}"]),
            helper.make_node("Greater", [f"value_{level}", f"threshold_{level}"], [f"above_{level}"]),
            helper.make_node("Cast", [f"above_{level}"], [f"side_{level}"], to=TensorProto.INT32),
            helper.make_node("Mul", [at, "two"], [f"twice_{level}"]),
            helper.make_node("Add", [f"twice_{level}", f"side_{level}"], [f"child_{level}"]),
            helper.make_node("Gather", ["children", f"child_{level}"], [next_at]),
        ]
    nodes += [
        helper.make_node("Sub", [f"node_{depth}", "first_leaf"], ["rows"]),
        helper.make_node("Gather", ["leaf_values", "rows"], ["votes"]),
        helper.make_node("ReduceMean", ["votes", "trees_axis"], [PROBABILITIES], keepdims=0),
    ]
    return helper.make_graph(
        nodes,
        "forest",
        [helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["n", n_features])],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", leaf_values.shape[1]])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def _forest_tables(trees: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers the nodes of all trees: first the inner ones, then one for all leaves with the same probabilities.

    Of the 217,000 leaves of bc-sam-tiny's forest 5,000 differ, as most hold cells of a single class. Leaves are their
    own children, so that all paths are of one length.

    Args:
        trees: Trees of scikit-learn.

    Returns:
        The feature (m,), float32 threshold (m,) and children (m, 2) of the m nodes, the root (t,) of each of the t
        trees, and the probabilities (l, k) of the last l nodes.
    """
    leaves = [tree.children_left < 0 for tree in trees]
    votes = np.concatenate([tree.value[is_leaf, 0] for tree, is_leaf in zip(trees, leaves, strict=True)])
    values, rows = np.unique(votes / votes.sum(axis=1, keepdims=True), axis=0, return_inverse=True)
    is_leaf = np.concatenate(leaves)
    number = np.empty(len(is_leaf), np.int64)
    number[~is_leaf] = np.arange(n_inner := int((~is_leaf).sum()))
    number[is_leaf] = n_inner + rows.ravel()
    starts = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    children = np.concatenate(
        [
            number[start + np.stack([tree.children_left, tree.children_right], axis=1)[~leaf]]
            for tree, start, leaf in zip(trees, starts, leaves, strict=True)
        ]
    )
    of_leaves = np.arange(n_inner, n_inner + len(values))
    nothing = np.zeros(len(values))
    return (
        np.concatenate([np.concatenate([tree.feature for tree in trees])[~is_leaf], nothing]),
        _float32_at_most(np.concatenate([np.concatenate([tree.threshold for tree in trees])[~is_leaf], nothing])),
        np.concatenate([children, np.stack([of_leaves, of_leaves], axis=1)]),
        number[starts],
        values,
    )


def _float32_at_most(values: np.ndarray) -> np.ndarray:
    """Rounds float64 values down to float32, so that comparing a float32 with them gives the same.

    Example:
        >>> bool(np.float32(0.1) <= np.float64(0.1)), bool(np.float32(0.1) <= _float32_at_most(np.array([0.1]))[0])
        (False, False)
    """
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)
