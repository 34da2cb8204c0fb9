"""Accuracy in a new laboratory by number of labels: python benchmarks/new_hospital.py MODEL NAME=DIR [options].

Adapts a model once per fold, with its slides held out, and fits the classifiers without labels, with 5, 10 and 20
labels per class, and with all. Prints the balanced accuracy on the held-out slides, mean and standard deviation over
the folds, so that each slide is tested once.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bc_sam.config.arguments import AdaptationArguments
from bc_sam.training.adaptation import Adaptation, AdaptationConfig

LABELS_PER_CLASS = (0, 5, 10, 20, None)
LEARN_FROM = ("both", "new")


def main() -> None:
    """Runs the adaptations and prints a Markdown table per training set of the classifiers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder or Hub id")
    parser.add_argument("data", help="NAME=SOURCE, as for bc-sam adapt")
    parser.add_argument("--group-pattern", help="regular expression that extracts the slide from a file name")
    parser.add_argument("--map", action="append", default=[], metavar="FOLDER=CLASS")
    parser.add_argument("--labels", default="", help="labels that can occur there, comma-separated")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/new_hospital"))
    options = parser.parse_args()
    scores: dict[tuple[str, str, str], list[float]] = {}
    for fold in range(options.folds):
        for *key, value in measure(options, fold):
            scores.setdefault(tuple(key), []).append(value)
    for learn_from in LEARN_FROM:
        print(f"\nClassifiers fitted on {learn_from}: balanced accuracy, %, {options.folds} folds\n")
        print_table({tuple(key): values for (source, *key), values in scores.items() if source == learn_from})


def measure(options: argparse.Namespace, fold: int) -> Iterator[tuple[str, str, str, float]]:
    """Yields the training set, classifier, column and balanced accuracy of one adaptation."""
    allowed = tuple(options.labels.split(",")) if options.labels else ()
    training = replace(AdaptationArguments().training, folds=options.folds)
    config = AdaptationConfig(
        model=options.model,
        data=options.data,
        label_map={folder: label or None for folder, _, label in (pair.partition("=") for pair in options.map)},
        group_pattern=options.group_pattern,
        arguments=AdaptationArguments(allowed_labels=allowed, fold=fold, training=training),
    )
    adaptation = Adaptation.create(options.out / f"fold-{fold}", config)
    adaptation.run()
    for learn_from, n_labels in itertools.product(LEARN_FROM, LABELS_PER_CLASS):
        refitted = replace(config.arguments, labels_per_class=n_labels, learn_from=learn_from)
        column = "no labels" if n_labels == 0 else "all" if n_labels is None else f"{n_labels} per class"
        for comparison in adaptation.compare(refitted):
            yield learn_from, comparison.classifier, column, comparison.after.value
            if n_labels == 0:
                yield learn_from, comparison.classifier, "before", comparison.before.value


def print_table(scores: dict[tuple[str, ...], list[float]]) -> None:
    """Prints mean and standard deviation over the folds."""
    columns = ["before", "no labels", "5 per class", "10 per class", "20 per class", "all"]
    print("| classifier | " + " | ".join(columns) + " |")
    print("|:--|" + "--:|" * len(columns))
    for classifier in dict.fromkeys(name for name, _ in scores):
        values = [100 * np.array(scores[(classifier, column)]) for column in columns]
        cells = (f"{value.mean():.1f} ± {value.std(ddof=1):.1f}" for value in values)
        print(f"| {classifier} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
