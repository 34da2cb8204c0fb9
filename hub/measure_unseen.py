"""Measures models on laboratories they have never seen: python hub/measure_unseen.py --help.

Prints, for each model and laboratory, accuracy and balanced accuracy with all
labels possible and restricted to those that occur, the expected calibration
error, and the recall of each class, as Markdown. Kinds of neutrophils and
lymphocytes that a laboratory does not distinguish are merged. Balanced
accuracy is the mean recall of the classes with enough cells; intervals are
95 % bootstrap intervals within classes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bc_sam import load_model
from bc_sam.cli.options import read_pairs
from bc_sam.data import load_cells
from bc_sam.evaluation.bootstrap import Interval, percentile_interval
from bc_sam.evaluation.merging import merge_columns, merge_indices, merged_labels
from bc_sam.models.base import CellModel
from bc_sam.models.observation import Parts

#: Fewest cells of a class that counts in balanced accuracy.
FEWEST = 8

_DRAWS = 2_000


@dataclass(frozen=True)
class Scored:
    """The predictions of one model for one laboratory.

    Attributes:
        true: (n,) label index.
        probabilities: (n, n_labels).
        labels: Class names.
        fewest: Fewest cells of a class that counts in balanced accuracy.
    """

    true: np.ndarray
    probabilities: np.ndarray
    labels: tuple[str, ...]
    fewest: int = FEWEST

    @property
    def counted(self) -> list[int]:
        """Label indices of the classes with enough cells."""
        return [int(label) for label in np.unique(self.true) if (self.true == label).sum() >= self.fewest]

    def predicted(self, *, restricted: bool) -> np.ndarray:
        """Returns the most probable label of each cell, optionally among those that occur."""
        allowed = np.unique(self.true) if restricted else np.arange(len(self.labels))
        return allowed[self.probabilities[:, allowed].argmax(axis=1)]

    def balanced(self, *, restricted: bool) -> Interval:
        """Returns the mean recall of the counted classes."""
        correct = self.predicted(restricted=restricted) == self.true
        rng = np.random.default_rng(0)
        recalls = [correct[self.true == label] for label in self.counted]
        draws = [rng.binomial(len(own), own.mean(), _DRAWS) / len(own) for own in recalls]
        return percentile_interval(float(np.mean([own.mean() for own in recalls])), np.mean(draws, axis=0))

    def calibration_error(self) -> float:
        """Returns the expected calibration error in ten bins."""
        confidence = self.probabilities.max(axis=1)
        correct = self.probabilities.argmax(axis=1) == self.true
        bins = np.minimum((confidence * 10).astype(int), 9)
        gaps = [abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
        return float(np.sum(gaps))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model folders or Hub ids; bc-sam-tiny is bundled")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=SOURCE", help="a laboratory")
    parser.add_argument(
        "--map",
        action="append",
        metavar="FOLDER=CLASS",
        help="class of the images in FOLDER, in the laboratories that have it",
    )
    parser.add_argument(
        "--orientations",
        type=int,
        choices=(1, 4),
        default=1,
        help="of each image, over which embeddings are averaged; for models that do not do so by themselves",
    )
    parser.add_argument("--classifiers", nargs="*", help="classifiers to measure; by default the model's default one")
    options = parser.parse_args()
    print("| model | classifier | laboratory | cells | accuracy | balanced | restricted | calibration error |")
    print("|:--|:--|:--|--:|--:|--:|--:|--:|")
    recalls = []
    for source in options.models:
        model = load_model(source)
        for spec in options.data:
            for name, scored in measure(
                model, spec, read_pairs(options.map), options.classifiers, options.orientations
            ):
                identity = f"| {Path(source).name} | {name} | {spec.partition('=')[0]} |"
                accuracy = (scored.predicted(restricted=False) == scored.true).mean()
                print(
                    f"{identity} {len(scored.true)} | {100 * accuracy:.1f} | {scored.balanced(restricted=False)} | "
                    f"{scored.balanced(restricted=True)} | {scored.calibration_error():.3f} |",
                    flush=True,
                )
                recalls.append(f"{identity} {recall_by_class(scored)} |")
    print("\n| model | classifier | laboratory | recall by class, as it is / restricted (cells) |\n|:--|:--|:--|:--|")
    print("\n".join(recalls))


def measure(
    model: CellModel, spec: str, label_map: dict[str, str | None], classifiers: list[str] | None, orientations: int
) -> Iterator[tuple[str, Scored]]:
    """Yields the predictions of each classifier of a model for one laboratory."""
    from datasets import Image

    folder = Path(spec.partition("=")[2] or spec)
    present = {name: label for name, label in label_map.items() if (folder / name).is_dir()}
    cells = load_cells(spec, label_map=present or None).cast_column("image", Image(decode=False))
    cells = cells.filter(lambda label: label is not None, input_columns="label")
    true = np.array(cells["label"])
    embeddings = np.concatenate(
        [_embed(model, batch.pixels, orientations) for batch in model.batches(list(cells["image"]))]
    )
    for name in classifiers or [model.config.default_classifier]:
        classifier = model.classifiers[name]
        merged = merged_labels(classifier.classes, true, model.labels)
        probabilities = merge_columns(classifier.predict_proba(embeddings), merged)
        yield name, Scored(merge_indices(true, merged), probabilities, model.labels)


def _embed(model: CellModel, pixels: np.ndarray, orientations: int) -> np.ndarray:
    """Returns the mean embeddings of images (n, S, S, 3) over their first orientations."""
    turned = (np.ascontiguousarray(np.rot90(pixels, turns, axes=(1, 2))) for turns in range(orientations))
    return np.mean([np.asarray(model.observe(images, Parts.EMBEDDINGS).embeddings) for images in turned], axis=0)


def recall_by_class(scored: Scored) -> str:
    """Returns the recall of each class as text."""
    parts = []
    for label in np.unique(scored.true):
        own = scored.true == label
        as_is, restricted = ((scored.predicted(restricted=r)[own] == label).mean() for r in (False, True))
        parts.append(f"{scored.labels[label]} {as_is:.2f} / {restricted:.2f} ({own.sum()})")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
