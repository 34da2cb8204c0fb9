"""The figures contain every count, group and outline that they are given, and need no display."""

import io
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from example_evaluation import DOMAINS, example_evaluation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from bc_sam.config.labels import LABELS
from bc_sam.errors import DataError
from bc_sam.evaluation import plots
from bc_sam.evaluation.plots.style import EMPTY


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend_names(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def draw(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, dpi=40)
    return png.getvalue()


def cells(n: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@settings(max_examples=10)
@given(arrays(np.int64, (4, 4), elements=st.integers(0, 9)))
def test_confusion_matrix_prints_every_count_and_recall(matrix: np.ndarray) -> None:
    figure = plots.confusion_matrix(matrix, list("abcd"), "title")
    printed = texts(figure)
    rows = matrix.sum(axis=1)
    recall = [f"{matrix[i, i] / rows[i]:.0%}" if rows[i] else "-" for i in range(4)]
    expected = [str(count) for count in matrix[matrix > 0]] + [str(count) for count in rows] + recall
    assert sorted(printed) == sorted([*expected, "cells", "recall"])


def test_confusion_matrix_colours_by_the_fraction_of_the_row() -> None:
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 200]]), ["a", "b"], "title")
    wrong, correct = sorted((image.get_array() for image in figure.axes[0].images), key=lambda share: share.max())
    assert wrong.compressed() == pytest.approx([0.25])
    assert correct.compressed() == pytest.approx([0.75, 1.0])


def test_confusion_matrix_greys_a_row_without_cells() -> None:
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], "title")
    (band,) = figure.axes[0].patches
    assert band.get_y() == 0.5
    assert mpl.colors.same_color(band.get_facecolor(), EMPTY)


def test_confusion_matrix_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"rf: .*\(2, 3\)"):
        plots.confusion_matrix(np.zeros((2, 3), int), ["a", "b"], "rf")


def test_latent_map_draws_each_group_once_by_class_and_by_domain() -> None:
    points = np.random.default_rng(0).normal(size=(52, 2))
    labels = np.arange(52) % 13
    labels[:4] = -1
    figure = plots.latent_map(points, labels, np.arange(52) % 2, LABELS, DOMAINS, method="t-SNE")
    assert len(figure.axes) == 2
    assert legend_names(figure) == ["unlabelled", *(name.replace("_", " ") for name in LABELS), *DOMAINS]
    for axes in figure.axes:
        drawn = np.concatenate([np.asarray(group.get_offsets()) for group in axes.collections])
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, points))


def test_latent_map_distinguishes_the_13_classes_without_colour() -> None:
    labels = np.arange(13)
    figure = plots.latent_map(np.zeros((13, 2)), labels, np.zeros(13, int), LABELS, DOMAINS)
    by_class = figure.axes[0].collections
    assert len({group.get_paths()[0].vertices.tobytes() for group in by_class}) == len(by_class) == 13


def test_latent_map_omits_classes_without_cells() -> None:
    figure = plots.latent_map(np.zeros((3, 2)), np.zeros(3, int), np.zeros(3, int), ["present", "absent"], ["A", "B"])
    assert legend_names(figure) == ["present", "A"]


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return np.hypot(x, y) < radius


def test_mask_overlays_outline_both_masks_with_different_line_styles() -> None:
    predicted, annotated = np.stack([disc(32, 8)] * 5), np.stack([disc(32, 10)] * 5)
    figure = plots.mask_overlays(cells(5), predicted, annotated, list("abcde"))
    assert len(figure.axes) == 5
    assert legend_names(figure) == ["predicted", "annotated"]
    outer, inner = (outline.get_paths()[0].vertices for outline in reversed(figure.axes[0].collections))
    assert np.ptp(outer, axis=0) == pytest.approx([20, 20], abs=1)
    assert np.ptp(inner, axis=0) == pytest.approx([16, 16], abs=1)
    styles = [outline.get_linestyle() for outline in figure.axes[0].collections]
    assert styles[0] != styles[1]


@pytest.mark.parametrize(("mask", "outlines"), [(np.zeros((1, 8, 8), bool), 0), (np.ones((1, 8, 8), bool), 1)])
def test_an_empty_or_full_mask_can_be_drawn(mask: np.ndarray, outlines: int) -> None:
    figure = plots.mask_overlays(cells(1, 8), mask, None, ["cell"])
    assert legend_names(figure) == ["predicted"]
    assert len(figure.axes[0].collections) == outlines
    assert draw(figure)


def test_reconstructions_are_below_their_targets() -> None:
    targets, reconstructed = cells(7), cells(7)[::-1] / 255.0
    figure = plots.reconstructions(targets, reconstructed, [f"cell {i}" for i in range(7)])
    assert len(figure.axes) == 14
    by_title = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    for i in range(7):
        above = by_title[f"cell {i}"]
        spec = above.get_subplotspec()
        (below,) = (
            axes
            for axes in figure.axes
            if axes.get_subplotspec().rowspan.start == spec.rowspan.start + 1
            and axes.get_subplotspec().colspan == spec.colspan
        )
        np.testing.assert_array_equal(above.images[0].get_array(), targets[i])
        np.testing.assert_allclose(below.images[0].get_array(), reconstructed[i])


def test_gallery_accepts_images_of_different_sizes() -> None:
    images = [cells(1, size)[0] for size in (16, 24, 40)]
    figure = plots.cell_gallery(images, ["monocyte → myelocyte"] * 3)
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [image.shape for image in images]
    assert draw(figure)


@pytest.mark.parametrize("images", [cells(2), cells(0)])
def test_a_gallery_without_images_or_with_missing_titles_is_refused(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="titles"):
        plots.cell_gallery(list(images), ["one"] * bool(len(images)))


def test_bars_are_means_with_standard_deviations_as_error_bars() -> None:
    evaluation = example_evaluation(folds=3)
    figure = plots.cross_domain_bars(evaluation, "macro_f1")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"trained on {s}" for s in (*DOMAINS, "all")]
    assert legend_names(figure) == evaluation.classifiers
    bars = [c for c in figure.axes[1].containers if hasattr(c, "patches")]
    for classifier, container in zip(evaluation.classifiers, bars, strict=True):
        (_, _, (lines,)) = container.errorbar.lines
        for bar, line, target in zip(container.patches, lines.get_segments(), DOMAINS, strict=True):
            mean, std = evaluation.mean_std(classifier, "acevedo20", target, "macro_f1")
            assert bar.get_height() == pytest.approx(100 * mean)
            assert line[:, 1] == pytest.approx([100 * (mean - std), 100 * (mean + std)])


def test_bars_of_a_single_fold_have_no_error_bars() -> None:
    figure = plots.cross_domain_bars(example_evaluation(folds=1))
    container = next(c for c in figure.axes[0].containers if hasattr(c, "patches"))
    assert not any(len(segment) for segment in container.errorbar.lines[2][0].get_segments())
    assert draw(figure)


def test_training_curves_have_a_panel_per_stage_and_kind() -> None:
    history = {
        "segmentation": [{"epoch": 1, "loss": 0.9, "lr": 0.1}, {"epoch": 2, "loss": 0.5, "val_dice": 0.8}],
        "autoencoder": [{"loss": 0.7, "mmd_loss": 0.1}],
    }
    figure = plots.training_curves(history)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["segmentation: loss", "segmentation: Dice", "autoencoder: loss"]
    assert legend_names(figure) == ["loss", "val dice", "loss", "mmd loss"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[1, 0.9], [2, 0.5]])
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xydata(), [[2, 0.8]])


def test_training_curves_without_loss_or_dice_are_refused() -> None:
    with pytest.raises(DataError, match="no loss"):
        plots.training_curves({"segmentation": [{"lr": 0.1}]})


def test_evaluation_figures_include_one_confusion_matrix_per_domain_pair() -> None:
    evaluation = example_evaluation(folds=2)
    figures = plots.evaluation_figures(evaluation, "ann")
    titles = [figure.get_suptitle() for figure in figures["confusion"]]
    assert titles == [f"ann: trained on {source}, tested on {target}" for source, target in evaluation.domain_pairs]
    for figure, domain_pair in zip(figures["confusion"], evaluation.domain_pairs, strict=True):
        matrix = evaluation.confusion("ann", *domain_pair)
        assert {str(count) for count in matrix[matrix > 0]} <= set(texts(figure))


def test_evaluation_figures_include_the_calibration_if_available() -> None:
    evaluation = example_evaluation(folds=1)
    old = replace(evaluation, pairs=[replace(pair, reliability=[]) for pair in evaluation.pairs])
    assert len(plots.evaluation_figures(evaluation, "ann")["calibration"]) == 1
    assert "calibration" not in plots.evaluation_figures(old, "ann")


def test_dollar_signs_and_markup_in_names_are_drawn_literally() -> None:
    name = r"$\frac{ <script>"
    figure = plots.confusion_matrix(np.eye(2, dtype=int), [name, "$x$"], name)
    assert draw(figure)


def test_drawing_does_not_change_rcparams() -> None:
    before = dict(mpl.rcParams)
    draw(plots.cross_domain_bars(example_evaluation(folds=2)))
    assert dict(mpl.rcParams) == before


def test_a_reliability_diagram_has_a_panel_per_domain_pair_and_counts_every_cell() -> None:
    evaluation = example_evaluation()
    figure = plots.reliability_diagram(evaluation, "rf", evaluation.domain_pairs)
    assert figure is not None
    for axes, domain_pair in zip(figure.axes, evaluation.domain_pairs, strict=True):
        cells, _, accuracy = evaluation.reliability("rf", *domain_pair).T
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(100 * accuracy[cells > 0])
        counted = sum(int(text.get_text()) for text in axes.texts)
        assert counted == sum(result.n_test for result in evaluation.select("rf", *domain_pair))
        assert f"{evaluation.calibration_error('rf', *domain_pair):.3f}" in axes.get_title(loc="left")
    assert draw(figure)


def test_large_counts_do_not_overlap() -> None:
    evaluation = example_evaluation(folds=1, classifiers=("rf",))
    many = [(12_345, i / 10 + 0.05, 0.5) for i in range(10)]
    evaluation = replace(evaluation, pairs=[replace(pair, reliability=many) for pair in evaluation.pairs])
    figure = plots.reliability_diagram(evaluation, "rf", evaluation.domain_pairs)
    assert figure is not None
    assert set(texts(figure)) == {"12k"}
    draw(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_domain_pair_without_reliability_has_no_panel() -> None:
    evaluation = example_evaluation(folds=1)
    source, target = evaluation.domain_pairs[0]
    pairs = [
        replace(p, reliability=[] if (p.source, p.target) == (source, target) else p.reliability)
        for p in evaluation.pairs
    ]
    figure = plots.reliability_diagram(replace(evaluation, pairs=pairs), "rf", evaluation.domain_pairs)
    assert figure is not None
    assert len(figure.axes) == len(evaluation.domain_pairs) - 1


def test_without_reliability_there_is_no_diagram() -> None:
    evaluation = example_evaluation()
    old = replace(evaluation, pairs=[replace(pair, reliability=[]) for pair in evaluation.pairs])
    assert plots.reliability_diagram(old, "rf", old.domain_pairs) is None
