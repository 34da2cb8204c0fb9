"""The cross-domain tables have exactly the values of the evaluation, and mark missing ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
from example_evaluation import DOMAINS, example_evaluation
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.errors import ConfigError, DataError
from bc_sam.evaluation.bootstrap import Comparison, Interval
from bc_sam.evaluation.results import Evaluation, PairResult
from bc_sam.evaluation.tables import (
    MAIN_METRICS,
    METRICS,
    Score,
    align,
    best_classifier,
    calibration_errors,
    cross_domain_table,
    footnotes,
    render_comparisons,
    render_markdown,
    render_text,
)


def pair(classifier: str, source: str, target: str, fold: int, accuracy: float) -> PairResult:
    return PairResult(classifier, source, target, fold, 80, 20, accuracy, 0.5, 0.5, 0.5, [[10, 0], [10, 0]])


def evaluation_of(*pairs: PairResult) -> Evaluation:
    return Evaluation("strict", ["x", "y"], ["A", "B"], seed=7, n_folds=5, pairs=list(pairs))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return example_evaluation()


@pytest.mark.parametrize("metric", METRICS)
def test_every_cell_is_the_mean_and_deviation_of_the_evaluation(evaluation: Evaluation, metric: str) -> None:
    table = cross_domain_table(evaluation, metric)
    assert [row.classifier for row in table.rows] == evaluation.classifiers
    for row in table.rows:
        for pair, score in zip(table.domain_pairs, row.scores, strict=True):
            mean, std = evaluation.mean_std(row.classifier, *pair, metric)
            assert str(score) == f"{100 * mean:.1f} ± {100 * std:.1f}"


def test_the_mean_is_over_the_pairs_with_a_single_source() -> None:
    table = cross_domain_table(
        evaluation_of(pair("rf", "A", "A", 0, 0.9), pair("rf", "A", "B", 0, 0.5), pair("rf", "all", "B", 0, 1.0))
    )
    assert table.rows[0].mean.mean == pytest.approx(0.7)


def test_the_mean_is_over_training_on_all_if_there_is_nothing_else() -> None:
    table = cross_domain_table(evaluation_of(pair("rf", "all", "A", 0, 0.9), pair("rf", "all", "B", 0, 0.7)))
    assert table.rows[0].mean.mean == pytest.approx(0.8)


def test_a_classifier_with_a_missing_pair_has_a_dash_and_no_mean() -> None:
    table = cross_domain_table(
        evaluation_of(pair("rf", "A", "A", 0, 0.9), pair("rf", "A", "B", 0, 0.5), pair("ann", "A", "A", 0, 1.0))
    )
    assert [str(score) for score in table.rows[1].scores] == ["100.0", "-"]
    assert str(table.rows[1].mean) == "-"
    assert table.best == [1.0, 0.5, pytest.approx(0.7)]


def test_sources_span_their_targets(evaluation: Evaluation) -> None:
    assert cross_domain_table(evaluation).sources == [("matek19", 2), ("acevedo20", 2), ("all", 2)]


def test_the_best_classifier_has_the_highest_mean() -> None:
    measured = evaluation_of(
        pair("rf", "A", "A", 0, 0.9),
        pair("rf", "A", "B", 0, 0.1),
        pair("ann", "A", "A", 0, 0.8),
        pair("ann", "A", "B", 0, 0.4),
    )
    assert best_classifier(measured) == "ann"


@given(mean=st.floats(0, 1), std=st.floats(0, 1))
def test_a_score_prints_percent(mean: float, std: float) -> None:
    printed, spread = str(Score(mean, std)).split(" ± ")
    assert float(printed) == pytest.approx(100 * mean, abs=0.0501)
    assert float(spread) == pytest.approx(100 * std, abs=0.0501)


@pytest.mark.parametrize("render", [render_text, render_markdown])
def test_every_rendering_has_every_value(evaluation: Evaluation, render) -> None:
    text = render(evaluation)
    for metric in MAIN_METRICS:
        table = cross_domain_table(evaluation, metric)
        assert f"{table.title}, %" in text
        for row in table.rows:
            line = next(line for line in text.split(table.title)[1].splitlines() if row.classifier in line)
            values = line.replace("|", " ").replace(row.classifier, " ").replace("±", " ").split()
            expected = " ".join(map(str, (*row.scores, row.mean))).replace("±", " ").split()
            assert values == expected


def test_columns_of_the_terminal_table_are_aligned(evaluation: Evaluation) -> None:
    for block in render_text(evaluation).split("\n\n")[: len(MAIN_METRICS)]:
        assert len({len(line) for line in block.splitlines()[2:]}) == 1


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    measured = evaluation_of(pair("a|b", "A\n<b>", "B", 0, 0.5))
    rows = [line for line in render_markdown(measured).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<b>" not in render_markdown(measured)


@pytest.mark.parametrize("render", [render_text, render_markdown])
def test_a_single_fold_has_no_standard_deviation_and_a_note(render) -> None:
    text = render(example_evaluation(folds=1))
    assert "±" not in text
    assert "n = 1 fold (1 of 5 folds evaluated)" in text


def test_footnotes_include_protocol_folds_seed_and_missing_classes(evaluation: Evaluation) -> None:
    notes = "\n".join(footnotes(evaluation))
    assert "Protocol strict" in notes
    assert "5 of 5 folds" in notes
    assert "seed 1234" in notes
    assert "acevedo20 → matek19: acevedo20 has no myeloblast, lymphocyte_atypical, smudge_cell" in notes
    assert f"{DOMAINS[0]} →" not in notes


def test_calibration_errors_match_the_evaluation(evaluation: Evaluation) -> None:
    table = calibration_errors(evaluation)
    assert [(source, target) for source, target, _ in table] == evaluation.domain_pairs
    block = next(block for block in render_text(evaluation).split("\n\n") if block.startswith("Expected calibration"))
    for (source, target, errors), line in zip(table, block.splitlines()[2:], strict=True):
        expected = [evaluation.calibration_error(name, source, target) for name in evaluation.classifiers]
        assert errors == [f"{error:.3f}" for error in expected]
        assert line.split() == [source, "→", target, *errors]


def test_an_unknown_calibration_error_is_a_dash_and_a_pair_without_any_is_omitted() -> None:
    confident = [*[(0, 0.0, 0.0)] * 9, (20, 1.0, 0.5)]
    known = replace(pair("rf", "A", "A", 0, 0.5), reliability=confident)
    measured = evaluation_of(known, pair("ann", "A", "A", 0, 0.5), pair("rf", "A", "B", 0, 0.5))
    assert calibration_errors(measured) == [("A", "A", ["0.500", "-"])]
    assert "calibration" in render_text(measured)
    assert "calibration" not in render_text(evaluation_of(pair("rf", "A", "B", 0, 0.5)))


def test_a_footnote_explains_the_protocol(evaluation: Evaluation) -> None:
    assert "without its label" in footnotes(replace(evaluation, protocol="paper"))[0]
    assert "in no stage" in footnotes(evaluation)[0]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match="'kappa'"):
        cross_domain_table(evaluation_of(pair("rf", "A", "A", 0, 0.9)), "kappa")


def test_an_empty_evaluation_is_refused() -> None:
    with pytest.raises(DataError, match="no results"):
        render_text(evaluation_of())


def test_a_column_without_any_score_has_no_best() -> None:
    table = cross_domain_table(evaluation_of(pair("rf", "A", "A", 0, math.nan)))
    assert np.isnan(table.best).all()


def comparison(classifier, per_class=None):
    interval = Interval(0.5, 0.25, 0.75)
    return Comparison(classifier, interval, interval, Interval(0, -0.5, 0.5), 80, 20, per_class or {"x": (80, 0.5, 1)})


def test_comparisons_are_a_table_of_scores_and_one_of_the_default_classifiers_recalls():
    text = render_comparisons([comparison("ann", {"y": (1, 0, 0)}), comparison("rf")], "rf")
    assert text.splitlines() == [
        "Balanced accuracy on 80 held-out cells of 20 slides, % (95 % confidence interval)",
        "                  before                after                 gain",
        "ann  50.0 (25.0 to 75.0)  50.0 (25.0 to 75.0)  0.0 (-50.0 to 50.0)",
        "rf   50.0 (25.0 to 75.0)  50.0 (25.0 to 75.0)  0.0 (-50.0 to 50.0)",
        "",
        "rf: recall, %",
        "   cells  before  after",
        "x     80    50.0  100.0",
        "",
        f"rf: {comparison('rf').verdict}",
    ]


def test_images_of_unknown_slides_are_not_reported_as_slides():
    text = render_comparisons([replace(comparison("rf"), slides_known=False)], "rf")
    assert text.startswith("Balanced accuracy on 80 held-out images of unknown slides, %")


@given(st.lists(st.lists(st.text("ab[/]µ%", min_size=1, max_size=9), min_size=3, max_size=3), min_size=1, max_size=5))
def test_cells_of_any_text_are_aligned_unchanged(lines):
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    expected = [
        "  ".join([first.ljust(widths[0]), second.rjust(widths[1]), third.rjust(widths[2])]).rstrip()
        for first, second, third in lines
    ]
    assert align(lines).splitlines() == expected


def test_a_table_wider_than_any_terminal_is_not_truncated():
    assert align([["a" * 200, "b" * 200]]) == "a" * 200 + "  " + "b" * 200
