"""Every kind of classifier gives the same probabilities as a graph of ONNX."""

import numpy as np
import onnxruntime
import pytest

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.kinds import KINDS
from bc_sam.config.labels import LABELS
from bc_sam.errors import BCSamError
from bc_sam.models.onnx_backend.classifier_graphs import classifier_graphs
from bc_sam.models.onnx_backend.files import EMBEDDINGS, PROBABILITIES


def computed(graph, latents):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (values,) = session.run([PROBABILITIES], {EMBEDDINGS: latents})
    return values


def some_latents(n_features, rows=500):
    return (3 * np.random.default_rng(1).standard_normal((rows, n_features))).astype(np.float32)


@pytest.mark.parametrize("name", KINDS)
def test_the_probabilities_are_those_of_the_classifier(name, fitted_classifiers):
    latents = some_latents(8)
    (graph,) = classifier_graphs({name: fitted_classifiers[name]}, 8).values()
    expected = fitted_classifiers[name].estimator.predict_proba(latents)
    np.testing.assert_allclose(computed(graph, latents), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["rf", "svm_rbf", "xgboost", "ann", "logistic"])
def test_two_classes_have_two_columns(name):
    labels = np.repeat([3, 5], 12)
    latents = (np.random.default_rng(0).standard_normal((24, 4)) + labels[:, None]).astype(np.float32)
    classifiers = fit_classifiers((name,), latents, labels, len(LABELS))
    (graph,) = classifier_graphs(classifiers, 4).values()
    expected = classifiers[name].estimator.predict_proba(latents)
    np.testing.assert_allclose(computed(graph, latents), expected, atol=1e-5)


def test_an_embedding_exactly_at_a_threshold_goes_the_same_way(fitted_classifiers):
    forest = fitted_classifiers["rf"]
    thresholds = np.concatenate([tree.tree_.threshold for tree in forest.estimator.estimators_])
    nearest = thresholds.astype(np.float32)
    latents = np.resize(np.concatenate([nearest, np.nextafter(nearest, np.float32(9))]), (600, 8))
    (graph,) = classifier_graphs({"rf": forest}, 8).values()
    np.testing.assert_allclose(computed(graph, latents), forest.estimator.predict_proba(latents), atol=1e-6)


def test_what_onnx_cannot_express_is_named(fitted_classifiers):
    class Unheard:
        def predict_proba(self, latents):
            return np.ones((len(latents), 1))

    strange = LatentClassifier(Unheard(), np.array([0]), len(LABELS))
    with pytest.raises(BCSamError, match=r"ONNX cannot express the classifiers strange \(") as error:
        classifier_graphs({"logistic": fitted_classifiers["logistic"], "strange": strange}, 8)
    assert "logistic (" not in str(error.value)
