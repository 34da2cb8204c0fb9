"""Measures a model on the cells that its training held out: python hub/measure_held_out.py --help.

The folds follow from the cells and the settings that are stored with the
model, so nothing is trained: the same data sets give the same held-out cells,
and their number is compared with that in the model's evaluation. Unlike that
evaluation, which is of single embeddings, cells are named here as `predict`
names them: from the mean over four orientations, if the model averages.
Balanced accuracy is the mean recall of the classes with enough held-out cells;
intervals are 95 % bootstrap intervals within classes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from measure_unseen import Scored, recall_by_class

from bc_sam import BCSamError, load_model
from bc_sam.errors import DataError
from bc_sam.evaluation.results import ALL
from bc_sam.models.base import CellModel
from bc_sam.models.observation import Parts
from bc_sam.training.experiment import Experiment, RunConfig
from bc_sam.utils.model_source import EMBEDDED_MODEL

#: Fewest held-out cells of a class that counts in balanced accuracy.
FEWEST = 10

_BATCH = 32


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="model folder or Hub id; bc-sam-tiny by default")
    parser.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE", help="a data set that it learned from"
    )
    parser.add_argument("--masks", help="CSV that pairs images with annotated masks, as in the training")
    parser.add_argument("--fold", type=int, default=0, help="the fold that was held out")
    parser.add_argument("--classifiers", nargs="*", help="classifiers to measure; by default the model's default one")
    options = parser.parse_args()
    model = load_model(options.model)
    names = options.classifiers or [model.config.default_classifier]
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment.create(folder, _config(model, options.data, options.masks))
        scored = list(measure(model, experiment, options.fold, names))
    print(
        "| laboratory | classifier | cells | accuracy | balanced | calibration error | accuracy, single embeddings |"
    )
    print("|:--|:--|--:|--:|--:|--:|--:|")
    for domain, name, result in scored:
        accuracy = (result.predicted(restricted=False) == result.true).mean()
        balanced = result.balanced(restricted=False) if result.counted else "too few"
        print(
            f"| {domain} | {name} | {len(result.true)} | {100 * accuracy:.1f} | {balanced} | "
            f"{result.calibration_error():.3f} | {100 * _stored_accuracy(model, name, domain):.1f} |"
        )
    print("\n| laboratory | classifier | recall by class, as it is / restricted (cells) |\n|:--|:--|:--|")
    for domain, name, result in scored:
        print(f"| {domain} | {name} | {recall_by_class(result)} |")


def _config(model: CellModel, data: list[str], masks: str | None) -> RunConfig:
    """Returns the config of the run that trained a model, on data sets given again."""
    if model.record is None or model.evaluation is None:
        raise DataError("The model has no training.json or evaluation.json, so its held-out cells are unknown.")
    given, known = [spec.partition("=")[0] for spec in data], [each.name for each in model.record.data]
    if given != known:
        raise DataError(f"The model learned from {', '.join(known)}; give --data NAME=SOURCE for each, in this order.")
    return RunConfig(tuple(data), masks, arguments=model.record.arguments)


def measure(
    model: CellModel, experiment: Experiment, fold: int, classifiers: list[str]
) -> Iterator[tuple[str, str, Scored]]:
    """Yields the predictions of each classifier for the held-out cells of each data set.

    Raises:
        DataError: If the held-out cells are not as many as in the evaluation of the model.
    """
    cells = experiment.cells
    for index, domain in enumerate(cells.table.domain_names):
        rows = np.flatnonzero((experiment.folds == fold) & (cells.domains == index) & (cells.labels >= 0))
        expected = _stored_pairs(model, classifiers[0], domain)[0].n_test
        if len(rows) != expected:
            raise DataError(f"{len(rows)} cells of {domain} are held out, and {expected} were in the training.")
        embeddings = np.concatenate([_embed(model, cells.pixels[part]) for part in _batches(rows)])
        for name in classifiers:
            probabilities = np.asarray(model.classifiers[name].predict_proba(embeddings))
            yield domain, name, Scored(cells.labels[rows], probabilities, model.labels, fewest=FEWEST)


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, range(_BATCH, len(rows), _BATCH))


def _embed(model: CellModel, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.observe(pixels, Parts.EMBEDDINGS).embeddings)


def _stored_pairs(model: CellModel, classifier: str, domain: str) -> list:
    assert model.evaluation is not None
    return model.evaluation.select(classifier, ALL, domain)


def _stored_accuracy(model: CellModel, classifier: str, domain: str) -> float:
    assert model.evaluation is not None
    return model.evaluation.mean_std(classifier, ALL, domain)[0]


if __name__ == "__main__":
    try:
        main()
    except BCSamError as error:
        sys.exit(f"error: {error}")
