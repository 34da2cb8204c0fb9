"""An evaluation with random but plausible numbers, for the tests of what is drawn and written from one."""

import numpy as np

from bc_sam.config.labels import LABELS
from bc_sam.evaluation.results import DiceResult, Evaluation, PairResult, StageTiming

DOMAINS = ("matek19", "acevedo20")
LACKING = {"acevedo20": ("lymphocyte_atypical", "myeloblast", "smudge_cell"), "matek19": ()}
SKILL = {"rf": 0.80, "svm_poly": 0.84, "xgboost": 0.86, "svm_rbf": 0.88, "ann": 0.87, "logistic": 0.78}


def example_evaluation(folds: int = 5, classifiers: tuple[str, ...] = tuple(SKILL), seed: int = 0) -> Evaluation:
    """Six classifiers, two laboratories and both together, 13 classes; Acevedo lacks three of them."""
    random = np.random.default_rng(seed)
    counts = {domain: class_counts(domain, random) for domain in DOMAINS}
    pairs = [
        example_pair(random, counts, classifier, source, target, fold)
        for fold in range(folds)
        for classifier in classifiers
        for source in (*DOMAINS, "all")
        for target in DOMAINS
    ]
    dice = [
        DiceResult(domain, fold, float(random.normal(0.93, 0.01)), 0.04, 23)
        for domain in DOMAINS
        for fold in range(folds)
    ]
    stages = {"segmentation": 412.0, "features": 38.5, "autoencoder": 251.0, "classifiers": 21.3}
    timings = [
        StageTiming(stage, fold, seconds * float(random.normal(1, 0.03)), float(random.normal(1900, 80)))
        for fold in range(folds)
        for stage, seconds in stages.items()
    ]
    return Evaluation(
        protocol="strict",
        labels=list(LABELS),
        domains=list(DOMAINS),
        seed=1234,
        n_folds=5,
        pairs=pairs,
        dice=dice,
        timings=timings,
        counts=counts,
        notes=["2 of 3,456 images could not be read: BAS_0001.tiff, MON_0007.tiff."],
        environment={"base": "tiny, from scratch", "torch": "2.13.0", "processor": "2 CPU cores"},
    )


def class_counts(domain: str, random: np.random.Generator) -> dict[str, int]:
    return {label: 0 if label in LACKING[domain] else int(random.integers(18, 260)) for label in LABELS}


def example_pair(
    random: np.random.Generator,
    counts: dict[str, dict[str, int]],
    classifier: str,
    source: str,
    target: str,
    fold: int,
) -> PairResult:
    missing = [label for label in LACKING.get(source, ()) if counts[target][label]]
    skill = SKILL[classifier] - (0.42 if source not in (target, "all") else 0.0) + random.normal(0, 0.015)
    shown = np.array([label not in missing for label in LABELS], dtype=float)
    confusion = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64)
    for row, label in enumerate(LABELS):
        near = np.exp(-0.5 * np.abs(np.arange(len(LABELS)) - row)) * shown
        near[row] = 0
        chances = (1 - skill * shown[row]) * near / near.sum()
        chances[row] = skill * shown[row]
        confusion[row] = random.multinomial(counts[target][label] // 5, chances)
    recall = [confusion[i, i] / confusion[i].sum() for i in range(len(LABELS)) if confusion[i].sum()]
    return PairResult(
        classifier=classifier,
        source=source,
        target=target,
        fold=fold,
        n_train=4 * sum(counts.get(source, counts[target]).values()) // 5,
        n_test=int(confusion.sum()),
        accuracy=float(confusion.trace() / confusion.sum()),
        balanced_accuracy=float(np.mean(recall)),
        macro_f1=float(np.mean(recall)) * 0.97,
        common_accuracy=float(confusion.trace() / confusion[shown.astype(bool)].sum()),
        confusion=confusion.tolist(),
        missing=missing,
        restricted=min(1.0, float(np.mean(recall)) * 1.05),
        reliability=example_reliability(random, int(confusion.sum()), confusion.trace() / confusion.sum()),
    )


def example_reliability(random: np.random.Generator, n: int, accuracy: float) -> list[tuple[int, float, float]]:
    """A classifier that is surer than it is right."""
    confidence = np.clip(random.beta(6, 2, n), 0.1, 0.999)
    right = random.random(n) < np.clip(confidence + accuracy - confidence.mean(), 0, 1)
    bins = []
    for low in np.arange(10) / 10:
        own = (confidence >= low) & (confidence < low + 0.1)
        bins.append(
            (int(own.sum()), float(confidence[own].mean()), float(right[own].mean())) if own.any() else (0, 0.0, 0.0)
        )
    return bins
