"""The report is a well-formed, self-contained page with all results, written atomically."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from example_evaluation import example_evaluation
from matplotlib.figure import Figure

from bc_sam.errors import ConfigError, DataError
from bc_sam.evaluation import html_report as report
from bc_sam.evaluation.plots import evaluation_figures
from bc_sam.evaluation.results import DiceResult, Evaluation, StageTiming
from bc_sam.evaluation.tables import MAIN_METRICS, calibration_errors, cross_domain_table

VOID = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects tags and text, and checks that tags are properly nested and closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split() if "style" not in self.open else [])

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(title: str = "") -> Figure:
    figure = Figure(figsize=(2, 1), dpi=20)
    figure.suptitle(title)
    return figure


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return example_evaluation(folds=2)


def written(path: Path, evaluation: Evaluation, figures: dict | None = None, **facts: str) -> Page:
    report.write_report(path / "report.html", evaluation, figures or {}, title="A run", facts=facts)
    page = Page((path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_full_report_is_well_formed_and_complete(tmp_path: Path, evaluation: Evaluation) -> None:
    figures = {name: picture(f"{name} picture") for name in report.FIGURES}
    figures |= {"confusion": evaluation_figures(evaluation, "rf")["confusion"]}
    page = written(tmp_path, evaluation, figures, command="bc-sam train --out run", data="two folders")
    alternatives = [image["alt"] for image in page.all("img")]
    assert len(alternatives) == len(report.FIGURES) - 1 + len(evaluation.domain_pairs)
    assert all(alternatives)
    assert any("rf: trained on matek19, tested on acevedo20" in alt for alt in alternatives if alt)
    assert len(page.all("figcaption")) == len(page.all("figure")) == len(report.FIGURES)
    for expected in ("bc-sam train --out run", "two folders", "2.13.0", evaluation.notes[0], "seed 1234"):
        assert expected in page.text


def test_report_is_self_contained(tmp_path: Path, evaluation: Evaluation) -> None:
    page = written(tmp_path, evaluation, {"latents": picture()})
    assert not page.all("script") + page.all("link") + page.all("iframe")
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "srcset" for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:image/png;base64,").startswith("data:image/png;base64,")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html


def test_tables_have_the_values_of_the_evaluation(tmp_path: Path, evaluation: Evaluation) -> None:
    page = written(tmp_path, evaluation)
    for metric in MAIN_METRICS:
        for row in cross_domain_table(evaluation, metric).rows:
            line = " ".join([row.classifier, *map(str, row.scores), str(row.mean)])
            assert line in page.text


def test_calibration_error_of_every_classifier_is_included(tmp_path: Path, evaluation: Evaluation) -> None:
    page = written(tmp_path, evaluation)
    for source, target, errors in calibration_errors(evaluation):
        assert f"{source} → {target} {' '.join(errors)}" in page.text


def test_best_of_each_column_is_marked(tmp_path: Path, evaluation: Evaluation) -> None:
    page = written(tmp_path, evaluation)
    best = [cell for cell in page.all("td") if "best" in (cell.get("class") or "").split()]
    assert len(best) == sum(len(cross_domain_table(evaluation, metric).best) for metric in MAIN_METRICS)


def test_counts_name_the_classes_that_a_laboratory_lacks(tmp_path: Path, evaluation: Evaluation) -> None:
    page = written(tmp_path, evaluation)
    counts = evaluation.counts
    assert f"basophil {counts['matek19']['basophil']} {counts['acevedo20']['basophil']}" in page.text
    assert f"smudge_cell {counts['matek19']['smudge_cell']} none" in page.text
    assert "acevedo20 has no myeloblast, lymphocyte_atypical, smudge_cell" in page.text


def test_single_fold_has_no_standard_deviation(tmp_path: Path) -> None:
    page = written(tmp_path, replace(example_evaluation(folds=1), dice=[]))
    assert "±" not in page.text
    assert "n = 1 fold" in page.text


def test_sections_without_content_are_omitted(tmp_path: Path, evaluation: Evaluation) -> None:
    pairs = [replace(pair, reliability=[]) for pair in evaluation.pairs]
    bare = replace(evaluation, pairs=pairs, notes=[], counts={}, dice=[], timings=[], environment={})
    page = written(tmp_path, bare)
    assert not page.all("img")
    for heading in (
        "Cell masks",
        "Errors",
        "Training",
        "Time and memory",
        "Reproducing the run",
        "Images per class",
        "probabilities",
    ):
        assert heading not in page.text


def test_dice_is_pooled_over_the_images_of_all_folds(tmp_path: Path, evaluation: Evaluation) -> None:
    folds = [np.array([0.9, 0.8, 0.7]), np.array([0.5])]
    dice = [DiceResult("A", i, float(d.mean()), float(d.std()), len(d)) for i, d in enumerate(folds)]
    page = written(tmp_path, replace(evaluation, dice=dice))
    pooled = np.concatenate(folds)
    assert f"A {pooled.mean():.3f} ± {pooled.std():.3f} 4" in page.text


def test_timings_are_summed_over_folds(tmp_path: Path, evaluation: Evaluation) -> None:
    timings = [StageTiming("features", 0, 65.0, 900.0), StageTiming("features", 1, 4000.0, 1234.4)]
    page = written(tmp_path, replace(evaluation, timings=timings))
    assert "features 2 33 min 52 s 1 h 07 min 1,234 MiB" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_are_human_readable(tmp_path: Path, evaluation: Evaluation, seconds: float, text: str) -> None:
    page = written(tmp_path, replace(evaluation, timings=[StageTiming("features", 0, seconds, 1.0)]))
    assert f"features 1 {text} {text} 1 MiB" in page.text


def test_headline_is_for_the_given_classifier(tmp_path: Path, evaluation: Evaluation) -> None:
    report.write_report(tmp_path / "r.html", evaluation, {}, title="A run", facts={}, classifier="logistic")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    new = [evaluation.mean_std("logistic", *pair)[0] for pair in (("matek19", "acevedo20"), ("acevedo20", "matek19"))]
    assert f"accuracy of logistic in a laboratory new to it {100 * np.mean(new):.1f} %" in text


def test_hostile_names_are_escaped_everywhere(tmp_path: Path, evaluation: Evaluation) -> None:
    pairs = [replace(pair, classifier=HOSTILE, source=HOSTILE, missing=[HOSTILE]) for pair in evaluation.pairs]
    hostile = replace(
        evaluation,
        pairs=pairs,
        labels=[HOSTILE, *evaluation.labels[1:]],
        domains=[HOSTILE],
        counts={HOSTILE: {HOSTILE: 3}},
        notes=[HOSTILE],
        environment={HOSTILE: HOSTILE},
        dice=[DiceResult(HOSTILE, 0, 0.9, 0.1, 3)],
        timings=[StageTiming(HOSTILE, 0, 1.0, 1.0)],
    )
    figures = {"errors": picture(HOSTILE)}
    page = written(tmp_path, hostile, figures, command=HOSTILE, **{HOSTILE: HOSTILE})
    assert not page.all("script")
    assert HOSTILE in page.text
    assert HOSTILE in str(page.all("img")[0]["alt"])


def test_unknown_figure_is_named(tmp_path: Path, evaluation: Evaluation) -> None:
    with pytest.raises(ConfigError, match=r"\['laetnts'\].*latents"):
        written(tmp_path, evaluation, {"laetnts": picture()})


def test_empty_evaluation_is_refused(tmp_path: Path, evaluation: Evaluation) -> None:
    with pytest.raises(DataError, match="no results"):
        written(tmp_path, replace(evaluation, pairs=[]))


def test_folder_of_the_report_is_created(tmp_path: Path, evaluation: Evaluation) -> None:
    written(tmp_path / "new" / "run", evaluation)


def test_failing_write_leaves_the_old_report_and_no_temporary_file(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def disk_full(file: Path, text: str, **_: str) -> None:
        with file.open("w") as unfinished:
            unfinished.write(text[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, evaluation)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_failing_figure_leaves_the_old_report(tmp_path: Path, evaluation: Evaluation) -> None:
    class Broken(Figure):
        def savefig(self, *_: object, **__: object) -> None:
            raise RuntimeError("cannot draw")

    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="cannot draw"):
        written(tmp_path, evaluation, {"latents": Broken()})
    assert path.read_text() == "old"
