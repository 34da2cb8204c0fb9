"""An adaptation holds out whole slides, keeps the original model, and compares the adapted one with it."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import IMAGE_SIZE, small_model
from small_network import small_comparison

from bc_sam import BCSam
from bc_sam.config.arguments import AdaptationArguments
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.errors import BCSamError, DataError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.observation import Parts
from bc_sam.training.adaptation import ENOUGH_MASKS, Adaptation, AdaptationConfig, AdaptationResult
from bc_sam.training.adaptation_report import write_adaptation_report


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The folder of a small model of three classes."""
    return small_model().save_pretrained(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def start(original, laboratories, small_training):
    """Starts an adaptation to one laboratory with six slides of three cells each."""

    def start(folder, model=original, masks=False, **arguments):
        config = AdaptationConfig(
            model=str(model),
            data=f"ours={laboratories / 'munich'}",
            masks=str(laboratories / "masks" / "pairs.csv") if masks else None,
            group_pattern=r"(\d+)\.png$",
            arguments=AdaptationArguments(training=small_training, **arguments),
        )
        return Adaptation.create(folder, config)

    return start


@pytest.fixture
def adaptation(start, tmp_path):
    """Like `start`, in a separate folder per test."""
    return lambda **options: start(tmp_path / "run", **options)


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    """A finished adaptation without masks, and its result."""
    run = start(tmp_path_factory.mktemp("finished") / "run")
    return run, run.run()


@pytest.fixture(scope="module")
def weights(original):
    return BCSam.from_pretrained(original).adapter.state_dict()


@pytest.fixture(scope="module")
def page(finished):
    """The report of `finished`."""
    run, result = finished
    write_adaptation_report(run, result, ["bc-sam", "adapt", "MODEL"])
    return (run.folder / "report.html").read_text()


def test_cells_are_embedded_as_the_model_predicts_from_them(adaptation, tmp_path):
    """Here from the mean over four orientations."""
    model = small_model(average_turns=True)
    run = adaptation(model=model.save_pretrained(tmp_path / "model"))
    run.run()
    adapted, pixels = BCSam.from_pretrained(run.folder / "model", dtype="float32"), run.cells.pixels[:3]
    for stored, by in ((run.latents("before"), model), (run.latents("after"), adapted)):
        np.testing.assert_allclose(stored[:3], by.observe(pixels, Parts.EMBEDDINGS).embeddings, atol=1e-3)
    assert adapted.record.arguments.average_turns


class TestReport:
    """A page of what the adaptation gained, and of what it still gets wrong."""

    def test_it_compares_before_and_after_by_classifier_and_by_class(self, page, finished):
        _, result = finished
        main = next(each for each in result.comparisons if each.classifier == "logistic")
        assert main.verdict in page
        assert "Recall of logistic by class" in page
        for each in result.comparisons:
            assert f"<td>{each.before}</td><td>{each.after}</td><td>{each.gain}</td>" in page

    def test_it_has_the_confusion_and_pictures_of_errors_and_doubtful_outlines(self, page, finished):
        run, result = finished
        assert 'alt="Confusion matrix: logistic' in page
        assert "Most confident errors of logistic" in page
        assert (f"of {result.mask_problems}" in page) == bool(result.mask_problems)
        drawn = {path.name for path in (run.folder / "figures").iterdir()}
        assert {"errors.png", "confusion_1.png"} <= drawn
        assert ("masks.png" in drawn) == bool(result.mask_problems)

    def test_its_results_are_those_of_the_model(self, page, finished):
        run, _ = finished
        model = BCSam.from_pretrained(run.folder / "model")
        assert Evaluation.load(run.folder / "evaluation.json") == model.evaluation

    def test_without_labelled_held_out_cells_it_says_so(self, finished, monkeypatch):
        run, result = finished
        model = BCSam.from_pretrained(run.folder / "model")
        (run.folder / "unlabelled").mkdir()
        monkeypatch.setattr(run, "folder", run.folder / "unlabelled")
        model.evaluation = None
        model.save_pretrained(run.folder / "model")
        write_csv = run.folder / "mask_problems.csv"
        write_csv.write_text("file,problem\n")
        write_adaptation_report(run, replace(result, comparisons=[]), ["bc-sam"])
        page = (run.folder / "report.html").read_text()
        assert "No held-out cell is labelled" in page
        assert "Across laboratories" not in page
        assert not (run.folder / "evaluation.json").exists()


class TestData:
    def test_cells_are_stored_at_the_size_of_the_model(self, adaptation):
        assert adaptation().cells.image_size == IMAGE_SIZE

    @pytest.mark.parametrize("normalization", [None, NormalizationConfig(field_of_view=24.0)])
    def test_cells_are_normalized_as_by_the_model(self, adaptation, tmp_path, normalization):
        """Whatever the settings of the adaptation say."""
        model = small_model(normalization=normalization).save_pretrained(tmp_path / "model")
        table = adaptation(model=model).cells.table
        assert table.field_of_view == (normalization.field_of_view if normalization else None)
        assert len(table.profiles) == (1 if normalization else 0)

    def test_whole_slides_are_held_out(self, adaptation):
        run = adaptation()
        sides = {}
        for group, held_out in zip(run.cells.table.groups, run.held_out, strict=True):
            sides.setdefault(group, set()).add(bool(held_out))
        assert all(len(side) == 1 for side in sides.values())
        assert 0 < run.held_out.sum() < len(run.cells) / 2

    def test_each_cell_is_held_out_by_one_fold(self, start, small_training, tmp_path):
        runs = [start(tmp_path / str(fold), fold=fold) for fold in range(small_training.folds)]
        assert (np.sum([run.held_out for run in runs], axis=0) == 1).all()

    def test_labels_outside_the_allowed_ones_are_rejected(self, adaptation):
        with pytest.raises(DataError, match=r"cells labelled eosinophil, monocyte, .*Add the others to --labels"):
            adaptation(allowed_labels=("basophil",)).cells  # noqa: B018

    def test_models_without_embeddings_are_rejected(self, adaptation, tmp_path):
        bare = small_model()
        bare.reference = None
        with pytest.raises(BCSamError, match="stores no embeddings"):
            adaptation(model=bare.save_pretrained(tmp_path / "bare"))

    def test_models_of_other_methods_are_rejected(self, adaptation, tmp_path):
        with pytest.raises(BCSamError, match="cannot be adapted"):
            adaptation(model=small_comparison("resnet").save_pretrained(tmp_path / "resnet"))


class TestAdvice:
    def test_it_proposes_the_labels_that_occur(self, adaptation):
        assert "--labels basophil,eosinophil,monocyte " in adaptation().advice

    def test_none_is_given_if_labels_are_restricted(self, adaptation):
        assert adaptation(allowed_labels=("basophil", "eosinophil", "monocyte")).advice is None

    def test_none_is_given_for_classifiers_of_new_cells_only(self, adaptation):
        assert adaptation(learn_from="new").advice is None


class TestRun:
    def test_the_result_counts_the_training_data(self, finished):
        run, result = finished
        assert (result.learned, result.held_out) == ((~run.held_out).sum(), run.held_out.sum())
        assert (result.labelled, result.masks) == (result.learned, 0)
        assert {comparison.classifier for comparison in result.comparisons} == {"logistic", "rf"}
        assert result == AdaptationResult.load(run.folder / "result.json")

    def test_the_adapted_model_lists_the_new_laboratory(self, finished):
        run, _ = finished
        model = BCSam.from_pretrained(run.folder / "model")
        assert model.config.domains == ("north", "south", "ours")
        assert set(model.reference.domains) == {0, 1, 2}

    def test_with_too_few_masks_the_adapter_is_unchanged(self, finished, weights):
        run, _ = finished
        adapted = BCSam.from_pretrained(run.folder / "model").adapter.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in adapted.items())

    def test_with_enough_masks_the_adapter_is_fine_tuned(self, adaptation, weights):
        run = adaptation(masks=True)
        result = run.run()
        assert result.masks >= ENOUGH_MASKS
        adapted = BCSam.from_pretrained(run.folder / "model").adapter.state_dict()
        assert any(not torch.equal(tensor, weights[name]) for name, tensor in adapted.items())

    def test_a_finished_adaptation_is_not_rerun(self, finished, start):
        run, result = finished
        written = {file: file.stat().st_mtime_ns for file in run.folder.rglob("*") if file.is_file()}
        assert start(run.folder).run() == result
        changed = {name for name, time in written.items() if name.stat().st_mtime_ns != time}
        assert {file.name for file in changed} <= {"adaptation.json", ".lock"}

    @pytest.mark.parametrize(
        ("other", "said"), [({"cells": 1}, "The cells have changed"), ({"model": "another"}, "The model has changed")]
    )
    def test_a_result_of_other_cells_or_another_model_is_not_reused(self, finished, start, caplog, other, said):
        run, result = finished
        path, again = run.folder / "result.json", start(run.folder)
        assert again._is_finished()
        replace(result, **other).save(path)
        try:
            assert not again._is_finished()
            assert said in caplog.text
        finally:
            result.save(path)

    def test_latents_of_another_model_are_not_reused(self, finished, start):
        run, _ = finished
        again = start(run.folder)
        assert np.array_equal(again.latents("before"), run.latents("before"))
        again.model_digest = "another"
        with pytest.raises(BCSamError, match="before"):
            again.latents("before")

    def test_images_with_a_wrong_mask_are_listed_and_not_aligned(self, finished):
        run, result = finished
        with (run.folder / "mask_problems.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == result.mask_problems
        assert {row["file"] for row in rows} <= set(run.cells.table.files)
        assert all(row["problem"] for row in rows)

    def test_results_with_the_former_key_of_mask_problems_are_read(self, finished):
        _, result = finished
        data = result.to_dict()
        data["doubtful"] = data.pop("mask_problems")
        assert AdaptationResult.from_dict(data) == result

    def test_latents_before_are_those_of_the_original_model(self, finished, original):
        run, _ = finished
        before = np.load(run._latents_path("before"))
        model = BCSam.from_pretrained(original, dtype="float32")
        np.testing.assert_allclose(model.embed(list(run.cells.pixels[:3])), before[:3], atol=1e-4)

    def test_a_single_slide_cannot_be_held_out(self, adaptation, tmp_path):
        config = replace(adaptation().config, group_pattern="(png)$")
        with pytest.raises(DataError, match="slides"):
            Adaptation.create(tmp_path / "run", config).run()


class TestCompare:
    def test_classifiers_are_refitted_with_other_settings(self, finished):
        run, result = finished
        assert run.compare(run.config.arguments) == result.comparisons
        without = run.compare(replace(run.config.arguments, labels_per_class=0))
        assert [comparison.before for comparison in without] == [one.before for one in result.comparisons]
        assert without != result.comparisons
