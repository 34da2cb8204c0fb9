"""Do 20 labels of chosen cells help more than 20 of random ones? python benchmarks/active_labels.py FOLDER.

FOLDER holds one folder of images per class; the slide of an image is its file name up to the first ``_``. Cells are
embedded once. For each seed, half of the slides is held out. From the other half, cells are chosen without looking at
their labels:

- random: at random;
- uncertain: those whose two likeliest classes the model finds most equally likely;
- uncertain and novel: one after another the cell with the highest product of uncertainty and distance from the nearest
  cell chosen before, in the space of embeddings; the first one has the highest out-of-distribution score;
- typical: the cell nearest to the centre of each of as many clusters of embeddings.

A logistic regression learns from the labels of the chosen cells alone, or also from what the model says of them.
Balanced accuracy on the slides that were held out; the model by itself, told which classes occur, is the first row.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler
from timing import print_table

from bc_sam.config.labels import COARSE_LABELS
from bc_sam.data.file_search import find_images
from bc_sam.models.auto import load_model
from bc_sam.models.observation import Parts
from bc_sam.utils.model_source import EMBEDDED_MODEL

Floats = NDArray[np.floating]
CHOICES = ("random", "uncertain", "uncertain and novel", "typical")


def main() -> None:
    """Embeds the cells once and prints a table over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--labels", type=int, default=20, help="Number of labels.")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    paths = find_images(options.folder)
    truth = np.array([path.parent.name for path in paths])
    slides = np.array([path.name.split("_")[0] for path in paths])
    embeddings, shares, ood = see(options.model, paths, sorted(set(truth)))
    said = np.array(sorted(set(truth)))[shares.argmax(axis=1)]
    features = {"labels alone": embeddings, "labels and model": np.hstack([embeddings, np.log(shares + 1e-6)])}
    scores: dict[tuple[str, str], list[float]] = {}
    for seed in range(options.seeds):
        pool, test = next(GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(paths, groups=slides))
        own = balanced_accuracy_score(truth[test], said[test])
        for name, values in features.items():
            scores.setdefault(("the model itself", name), []).append(own)
            standard = StandardScaler().fit(values[pool]).transform(values)
            for choice in CHOICES:
                chosen = pool[choose(choice, options.labels, standard[pool], shares[pool], ood[pool], seed)]
                fitted = LogisticRegression(C=0.1, max_iter=2000).fit(standard[chosen], truth[chosen])
                score = balanced_accuracy_score(truth[test], fitted.predict(standard[test]))
                scores.setdefault((choice, name), []).append(score)
    rows = [
        (
            choice,
            *(
                f"{np.mean(scores[choice, name]):.1%} ± {np.std(scores[choice, name], ddof=1):.1%}"
                for name in features
            ),
        )
        for choice in ("the model itself", *CHOICES)
    ]
    print(f"{len(paths)} cells, {len(set(slides))} slides, {options.labels} labels, {options.seeds} seeds")
    print_table(("choice", *features), rows)


def see(source: str, paths: list[Path], classes: list[str]) -> tuple[Floats, Floats, Floats]:
    """Returns embeddings (n, d), probabilities of the classes (n, c), and out-of-distribution scores (n,)."""
    model = load_model(source)
    kinds = [COARSE_LABELS.get(name, (name,)) for name in classes]
    model.restrict_labels([kind for names in kinds for kind in names])
    name = model.config.default_classifier
    embeddings, probabilities, ood = [], [], []
    for batch in model.batches(paths):
        observed = model.observe(batch.pixels, Parts.ALL)
        embeddings.append(observed.embeddings)
        probabilities.append(observed.probabilities[name])
        ood.append(observed.ood)
    shares = np.concatenate(probabilities)
    columns = [[model.labels.index(kind) for kind in names] for names in kinds]
    merged = np.stack([shares[:, own].sum(axis=1) for own in columns], axis=1)
    return np.concatenate(embeddings), merged, np.concatenate(ood)


def choose(choice: str, number: int, places: Floats, shares: Floats, ood: Floats, seed: int) -> NDArray[np.intp]:
    """Returns the indices of cells whose labels are asked for, without looking at any label."""
    if choice == "random":
        return np.random.default_rng(seed).permutation(len(places))[:number]
    if choice == "typical":
        centres = KMeans(number, n_init=5, random_state=seed).fit(places).cluster_centers_
        return np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=0)
    second, first = np.sort(shares, axis=1)[:, -2:].T
    uncertainty = 1 - (first - second)
    if choice == "uncertain":
        return np.argsort(-uncertainty)[:number]
    chosen = [int(ood.argmax())]
    while len(chosen) < number:
        distance = np.linalg.norm(places[:, None] - places[chosen], axis=2).min(axis=1)
        chosen.append(int((uncertainty * distance).argmax()))
    return np.array(chosen)


if __name__ == "__main__":
    main()
