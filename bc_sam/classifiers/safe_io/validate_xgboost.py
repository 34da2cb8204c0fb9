"""Validates XGBoost classifiers from untrusted files before XGBoost gets the model.

XGBoost does not bounds-check the indices in a model and dereferences some of them on loading, so the model is parsed
and checked here first. Only the model is then passed to XGBoost, in its own stable format, without the settings in the
skops file: the number of threads and the device are up to this machine.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np

from bc_sam.classifiers.safe_io.checks import require
from bc_sam.classifiers.safe_io.ubjson import UbjsonReader

if TYPE_CHECKING:
    from xgboost import XGBClassifier

_NO_PARENT = 2**31 - 1
_LEAF = -1
_NODE_ARRAYS = (
    "base_weights", "default_left", "left_children", "loss_changes", "parents", "right_children", "split_conditions",
    "split_indices", "split_type", "sum_hessian",
)  # fmt: skip
_CATEGORY_ARRAYS = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def read_booster(
    archive: ZipFile, nodes: Sequence[Mapping[str, Any]], n_features: int | None, n_classes: int | None
) -> "XGBClassifier":
    """Builds a classifier from the booster in a skops file; the file's other settings are ignored.

    Args:
        archive: A skops file that has passed `bc_sam.classifiers.safe_io.audit.audit`.
        nodes: The nodes returned by the audit.
        n_features: See `load_booster`.
        n_classes: See `load_booster`.

    Raises:
        ValueError: If it does not hold exactly one booster, and as in `load_booster`.
    """
    members = [node["file"] for node in nodes if "file" in node]
    require(len(members) == 1, "it does not hold exactly one booster")
    return load_booster(archive.read(members[0]), n_features, n_classes)


def load_booster(data: bytes, n_features: int | None = None, n_classes: int | None = None) -> "XGBClassifier":
    """Builds a classifier from the state of its booster, as stored by skops.

    Args:
        data: The ``handle`` in the state returned by `Booster.__getstate__`.
        n_features: Dimension of the embeddings; any if not given.
        n_classes: Number of classes; any if not given.

    Raises:
        ValueError: If it is not a tree model for these numbers of features and classes, or an index is out of bounds;
            other built-in errors are possible too.
        ImportError: If XGBoost is not installed.
    """
    from xgboost import XGBClassifier

    model, stored = _read_model(data)
    sizes = model["learner"]["learner_model_param"]
    n_features = int(sizes["num_feature"]) if n_features is None else n_features
    n_classes = max(2, int(sizes["num_class"])) if n_classes is None else n_classes
    _check_model(model, n_features, n_classes)
    classifier = XGBClassifier()
    classifier.load_model(bytearray(stored))
    return classifier


def _read_model(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the model in a booster's state, parsed and as bytes."""
    reader = UbjsonReader(data)
    entries = {}
    for key in reader.keys():  # noqa: SIM118
        start = reader.position
        entries[key] = reader.value(), data[start : reader.position]
    return entries["Model"]


def _check_model(model: dict[str, Any], n_features: int, n_classes: int) -> None:
    learner = model["learner"]
    groups = 1 if n_classes == 2 else n_classes
    objective = {"name": "binary:logistic"} if groups == 1 else {"name": "multi:softprob"}
    sizes = {"num_feature": str(n_features), "num_class": str(groups if groups > 1 else 0), "num_target": "1"}
    require(objective.items() <= learner["objective"].items(), "it was trained with another objective")
    require(sizes.items() <= learner["learner_model_param"].items(), "its number of features or classes differs")
    extras = [learner.get(name) for name in ("attributes", "feature_names", "feature_types")]
    require(not any(extras), "it has attributes, feature names or feature types")
    booster = learner["gradient_booster"]
    require(booster["name"] == "gbtree", "it is not a gradient-boosted tree model")
    _check_trees(booster["model"], n_features, groups)


def _check_trees(model: dict[str, Any], n_features: int, groups: int) -> None:
    trees = model["trees"]
    counts = {"num_trees": str(len(trees)), "num_parallel_tree": "1"}
    require(counts.items() <= model["gbtree_model_param"].items(), "its number of trees differs from the declared one")
    require(not any(len(values) for values in model.get("cats", {}).values()), "it has categorical features")
    groups_of_trees, rounds = np.asarray(model["tree_info"]), np.asarray(model["iteration_indptr"])
    require(len(groups_of_trees) == len(trees) > 0, "a tree has no class")
    require(bool(((groups_of_trees >= 0) & (groups_of_trees < groups)).all()), "a tree has a class out of range")
    require(rounds[0] == 0 and rounds[-1] == len(trees), "its boosting rounds do not cover its trees")
    require(bool((np.diff(rounds) >= 0).all()), "its boosting rounds are not in order")
    for index, tree in enumerate(trees):
        _check_shape(tree, index, n_features)
    _check_nodes({name: np.concatenate([tree[name] for tree in trees]) for name in _NODE_ARRAYS}, trees, n_features)


def _check_shape(tree: dict[str, Any], index: int, n_features: int) -> None:
    """Checks a tree's id, the lengths of its node arrays, and that it has no categorical splits or vector leaves."""
    nodes = len(tree["left_children"])
    sizes = {"num_nodes": str(nodes), "num_deleted": "0", "num_feature": str(n_features)}
    require(sizes.items() <= tree["tree_param"].items(), "the size of a tree differs from the declared one")
    require(tree["tree_param"]["size_leaf_vector"] in ("0", "1"), "a tree has vector leaves")
    require(tree.keys() <= {*_NODE_ARRAYS, *_CATEGORY_ARRAYS, "id", "tree_param"}, "a tree has unknown fields")
    require(type(tree["id"]) is int and tree["id"] == index, "a tree has the wrong id")
    require(all(len(tree[name]) == nodes > 0 for name in _NODE_ARRAYS), "the node arrays of a tree differ in length")
    require(not any(len(tree[name]) for name in _CATEGORY_ARRAYS), "a tree has categorical splits")


def _check_nodes(nodes: dict[str, np.ndarray], trees: list[dict[str, Any]], n_features: int) -> None:
    """Checks the child, parent and feature indices of the nodes of all trees at once."""
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    position = np.arange(len(starts)) - starts
    inner = nodes["left_children"] != _LEAF
    require(bool((nodes["right_children"][~inner] == _LEAF).all()), "a leaf has a child")
    parents = np.full(len(starts), _NO_PARENT)
    for child in (nodes["left_children"][inner], nodes["right_children"][inner]):
        inside = (child > position[inner]) & (child < np.repeat(sizes, sizes)[inner])
        require(bool(inside.all()), "a child index points outside its tree or backwards")
        parents[starts[inner] + child] = position[inner]
    require(np.array_equal(nodes["parents"], parents), "a node has the wrong parent")
    features = nodes["split_indices"][inner]
    require(bool(((features >= 0) & (features < n_features)).all()), "a feature index is out of bounds")
    require(not nodes["split_type"].any(), "a node has a categorical split")
    require(bool(np.isfinite(nodes["split_conditions"]).all()), "a split condition is not finite")
