"""A trained model classifies cells, in code and on the command line."""

import csv
import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from bc_sam import BCSam, BCSamError
from bc_sam.classifiers.fitting import restrict_probabilities
from bc_sam.config.labels import LABELS, plain_name
from bc_sam.data.preparation import PROFILE_SAMPLE
from bc_sam.errors import ConfigError, ImageError, WeightsError
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import Parts


@pytest.fixture(scope="module")
def model(run_folder):
    return BCSam.from_pretrained(run_folder)


def observed(model, files):
    """The probabilities (n, labels) of each classifier, and the masks, in one pass."""
    cells = [cell.observed for cell in inspect_cells(model, files)]
    probabilities = {name: np.stack([cell.probabilities[name] for cell in cells]) for name in model.classifiers}
    return probabilities, np.stack([cell.mask for cell in cells])


class TestInCode:
    def test_labels_follow_argmax_for_every_classifier(self, model, cell_files):
        files = cell_files[::3]
        for name in model.classifiers:
            probabilities = model.predict_proba(files, classifier=name)
            assert probabilities.shape == (len(files), len(LABELS))
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
            expected = [LABELS[column] for column in probabilities.argmax(axis=1)]
            assert model.predict(files, classifier=name) == expected

    def test_single_images_and_batches_agree(self, run_folder, cell_files):
        # In float32: matrix units for bfloat16 round differently for other numbers of rows.
        model = BCSam.from_pretrained(run_folder, dtype="float32")
        profile = model.profile(cell_files)  # by default, a single image is measured by itself

        def embeddings(batch_size):
            cells = inspect_cells(model, cell_files, Parts.EMBEDDINGS, batch_size=batch_size, profile=profile)
            return np.stack([cell.observed.embedding for cell in cells])

        np.testing.assert_allclose(embeddings(8), embeddings(1), atol=1e-4)
        np.testing.assert_allclose(model.embed(cell_files, batch_size=8), embeddings(8), atol=1e-4)

    def test_any_image_format_is_accepted(self, model, cell_files):
        image = Image.open(cell_files[0]).convert("RGB")
        forms = [cell_files[0], str(cell_files[0]), cell_files[0].read_bytes(), image, np.asarray(image)]
        latents = model.embed(forms)
        np.testing.assert_allclose(latents, latents[:1].repeat(len(forms), axis=0), atol=1e-4)

    def test_a_call_answers_as_transformers_does(self, model, cell_files):
        ranked = model(cell_files[0], top_k=3)
        scores = [guess["score"] for guess in ranked]
        assert len(ranked) == 3
        assert scores == sorted(scores, reverse=True)
        assert ranked[0]["label"] == model.predict([cell_files[0]])[0]
        expected = model.predict_proba(cell_files[:2])
        for of_many, probabilities in zip(model(cell_files[:2], top_k=3), expected, strict=True):
            assert [guess["score"] for guess in of_many] == pytest.approx(sorted(probabilities)[:-4:-1], abs=1e-5)
            assert of_many[0]["label"] == LABELS[probabilities.argmax()]

    def test_predictions_can_be_restricted_to_possible_labels(self, run_folder, model, cell_files):
        asked = BCSam.from_pretrained(run_folder)
        asked.restrict_labels(["monocyte", "basophil"])
        (before, _), (after, _) = (observed(one, cell_files) for one in (model, asked))
        both = np.array([LABELS.index("monocyte"), LABELS.index("basophil")])
        for name, probabilities in after.items():
            np.testing.assert_allclose(probabilities, restrict_probabilities(before[name], both), atol=1e-4)
        expected = after[asked.config.default_classifier].argmax(axis=1)
        assert asked.predict(cell_files) == [LABELS[column] for column in expected]

    def test_what_can_occur_is_saved_with_the_model_and_can_be_taken_back(
        self, run_folder, model, cell_files, run_bc_sam, tmp_path
    ):
        assert run_bc_sam("save", run_folder, tmp_path / "two", "--labels", "monocyte,basophil") == 0
        saved = BCSam.from_pretrained(tmp_path / "two")
        others = [column for column, label in enumerate(LABELS) if label not in ("monocyte", "basophil")]
        assert not saved.predict_proba(cell_files)[:, others].any()
        assert saved.reference.differences(saved.classifiers) == {}  # its checks are of all that it has learned
        saved.refit()
        assert not saved.predict_proba(cell_files)[:, others].any()
        saved = BCSam.from_pretrained(tmp_path / "two")
        saved.restrict_labels(LABELS)
        assert saved.config.allowed_labels == ()
        assert saved.predict(cell_files) == model.predict(cell_files)

    def test_what_is_expected_more_often_is_saved_with_the_model_and_shown(
        self, run_folder, model, cell_files, run_bc_sam, tmp_path, capsys
    ):
        weigh = ("--weigh", "monocyte=900", "--weigh", "basophil=0.001")
        assert run_bc_sam("save", run_folder, tmp_path / "weighed", *weigh) == 0
        saved = BCSam.from_pretrained(tmp_path / "weighed")
        weights = np.array([{"monocyte": 900, "basophil": 0.001}.get(label, 1) for label in LABELS])
        weighed = model.predict_proba(cell_files) * weights
        np.testing.assert_allclose(
            saved.predict_proba(cell_files), weighed / weighed.sum(axis=1, keepdims=True), atol=1e-4
        )
        assert saved.reference.differences(saved.classifiers) == {}  # its checks are of what it has learned
        saved.refit()
        assert saved.classifiers["rf"].label_weights[LABELS.index("monocyte")] == 900
        assert run_bc_sam("info", tmp_path / "weighed") == 0
        assert "label weights   monocyte 900, basophil 0.001\n" in capsys.readouterr().out

    def test_a_weight_that_is_none_is_an_error(self, run_folder, run_bc_sam, tmp_path, capsys):
        assert run_bc_sam("save", run_folder, tmp_path / "weighed", "--weigh", "monocyte") == 1
        assert "--weigh monocyte is not LABEL=WEIGHT" in capsys.readouterr().err
        assert not (tmp_path / "weighed").exists()

    def test_masks_have_each_images_own_size(self, model, cell_files):
        wide = Image.open(cell_files[0]).resize((300, 200))
        masks = model.segment([cell_files[0], wide])
        assert [mask.shape for mask in masks] == [(224, 224), (200, 300)]
        assert all(mask.dtype == bool for mask in masks)

    def test_an_unreadable_image_is_an_error_or_an_entry_of_the_stream(self, model, cell_files, tmp_path):
        broken = tmp_path / "broken.png"
        broken.write_bytes(cell_files[0].read_bytes()[:100])
        images = [cell_files[0], broken, cell_files[1]]
        with pytest.raises(ImageError, match="broken"):
            model.predict(images)
        first, second, third = model.stream(iter(images))
        assert (first.error, third.error) == (None, None)
        assert "broken.png" in str(second.error)
        assert second.label is None
        assert [first.label, third.label] == model.predict([cell_files[0], cell_files[1]])

    def test_a_stream_is_read_as_it_is_needed(self, model, cell_files):
        asked = []

        def endless():
            for file in itertools.cycle(cell_files):
                asked.append(file)
                yield file

        stream = model.stream(endless(), batch_size=2)
        for _ in range(4):
            next(stream)
        assert len(asked) <= PROFILE_SAMPLE + 8  # those from which the scale is measured, and two batches

    def test_no_images_give_empty_results(self, model):
        assert model.predict([]) == []
        assert model.embed([]).shape == (0, model.config.latent_dim)
        assert model.segment([]) == []

    def test_mistakes_are_explained(self, model, cell_files):
        with pytest.raises(ConfigError, match="list"):
            model.predict(str(cell_files[0]))
        with pytest.raises(ConfigError, match="svm_rbf"):
            model.predict(cell_files, classifier="knn")

    def test_bf16_names_the_same_cells(self, run_folder, cell_files):
        half, full = (BCSam.from_pretrained(run_folder, dtype=dtype) for dtype in ("bfloat16", "float32"))
        np.testing.assert_allclose(half.predict_proba(cell_files), full.predict_proba(cell_files), atol=0.1)


class TestSaving:
    def test_a_single_classifier_can_be_loaded_but_not_saved_as_if_it_were_all(self, model, run_folder, cell_files):
        alone = BCSam.from_pretrained(run_folder, classifiers=["default"])
        assert list(alone.classifiers) == [model.config.default_classifier]
        assert alone.predict(cell_files) == model.predict(cell_files)
        with pytest.raises(ConfigError, match="has no classifier 'rf'"):
            alone.predict(cell_files, classifier="rf")
        with pytest.raises(BCSamError, match="would be lost"):
            alone.save_pretrained(run_folder.parent / "copy")

    def test_saved_and_loaded_it_computes_the_same(self, model, cell_files, tmp_path):
        again = BCSam.from_pretrained(model.save_pretrained(tmp_path / "model"))
        (ours, our_masks), (theirs, their_masks) = (observed(one, cell_files) for one in (model, again))
        for name in model.classifiers:
            np.testing.assert_array_equal(ours[name], theirs[name])
        np.testing.assert_array_equal(our_masks, their_masks)

    def test_half_precision_halves_the_size_and_keeps_predictions(self, model, cell_files, tmp_path):
        whole, half = model.save_pretrained(tmp_path / "whole"), model.save_pretrained(tmp_path / "half", half=True)
        for part in ("adapter/adapter_model.safetensors", "base/model.safetensors", "autoencoder/model.safetensors"):
            assert (half / part).stat().st_size < 0.55 * (whole / part).stat().st_size
        again = BCSam.from_pretrained(half, dtype="float32")
        full = BCSam.from_pretrained(whole, dtype="float32")
        ours, theirs = (m.embed(cell_files) for m in (full, again))
        np.testing.assert_allclose(theirs, ours, rtol=0.02, atol=0.02 * np.abs(ours).max())

    def test_a_saved_model_can_be_carried_elsewhere(self, model, cell_files, tmp_path):
        folder = model.save_pretrained(tmp_path / "model")
        moved = shutil.move(folder, tmp_path / "stick")
        assert BCSam.from_pretrained(moved).predict(cell_files) == model.predict(cell_files)
        assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "stick").rglob("*.json"))

    def test_a_failed_save_leaves_the_old_model_whole(self, model, tmp_path, monkeypatch):
        folder = model.save_pretrained(tmp_path / "model")
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

        def full_disk(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(model, "_write_classifiers", full_disk)
        with pytest.raises(BCSamError, match="No space left"):
            model.save_pretrained(folder)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert list(tmp_path.iterdir()) == [folder]

    def test_other_folders_are_not_replaced(self, model, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(BCSamError, match="not a model folder"):
            model.save_pretrained(tmp_path)

    def test_missing_or_newer_files_are_reported(self, model, tmp_path):
        with pytest.raises(WeightsError, match="no folder"):
            BCSam.from_pretrained(tmp_path / "none")
        folder = model.save_pretrained(tmp_path / "model")
        config = (folder / "config.json").read_text()
        (folder / "config.json").write_text(config.replace('"format_version": 2', '"format_version": 99'))
        with pytest.raises(WeightsError, match="pip install -U"):
            BCSam.from_pretrained(folder)
        (folder / "config.json").write_text(config)
        (folder / "autoencoder" / "model.safetensors").unlink()
        with pytest.raises(WeightsError, match="autoencoder"):
            BCSam.from_pretrained(folder)


class TestFromTheCommandLine:
    def test_names_each_cell_and_counts_a_folder(self, run_folder, run_bc_sam, model, cell_files, tmp_path, capsys):
        table = tmp_path / "cells.csv"
        folder = cell_files[0].parents[1]
        assert run_bc_sam("predict", "--model", run_folder, folder, "--csv", table, "--no-abstain") == 0
        out = capsys.readouterr().out
        rows = {row["file"]: row for row in csv.DictReader(table.open())}
        assert [rows[str(file)]["name"] for file in cell_files] == model.predict(cell_files)
        uncounted = ("myeloblast", "erythroblast", "smudge_cell")  # looked at first, or per 100 white cells
        n_counted = sum(row["name"] not in uncounted for row in rows.values())
        assert f"Differential count of {n_counted} white cell" in out
        first = rows[str(cell_files[0])]
        assert float(first["probability"]) == pytest.approx(max(float(first[label]) for label in LABELS), abs=1e-4)
        assert float(first["probability"]) >= float(first["second_probability"])
        for file in cell_files:
            assert f"{file}: {rows[str(file)]['name']}" in out

    def test_only_possible_labels_are_counted(self, run_folder, run_bc_sam, cell_files, capsys):
        folder = cell_files[0].parents[1]
        options = ("--no-abstain", "--labels", "monocyte, basophil")
        assert run_bc_sam("predict", "--model", run_folder, folder, *options) == 0
        count = capsys.readouterr().out.split("Differential count")[1]
        assert {label for label in LABELS if plain_name(label) in count} <= {"monocyte", "basophil"}
        assert run_bc_sam("predict", "--model", run_folder, folder, "--labels", "monocytes") == 1
        assert "no label 'monocytes'. Choose from" in capsys.readouterr().err

    def test_the_former_spelling_of_labels_still_works_and_says_so(self, run_folder, run_bc_sam, cell_files, capsys):
        answers = {}
        for option in ("--labels", "--among"):
            options = ("--no-abstain", option, "monocyte,basophil")
            assert run_bc_sam("predict", "--model", run_folder, *cell_files, *options) == 0
            answers[option] = capsys.readouterr()
        assert answers["--labels"].out == answers["--among"].out
        assert "--among is now spelled --labels." in answers["--among"].err
        assert "--among" not in answers["--labels"].err

    def test_an_image_that_shows_nothing_gets_no_name_unless_every_cell_is_named(
        self, run_folder, run_bc_sam, tmp_path, capsys
    ):
        Image.new("RGB", (224, 224)).save(tmp_path / "black.png")
        assert run_bc_sam("predict", "--model", run_folder, tmp_path / "black.png") == 0
        out = capsys.readouterr().out
        assert "no name. The image shows nothing." in out
        assert "1 without a name; please review it." in out
        assert run_bc_sam("predict", "--model", run_folder, "--no-abstain", tmp_path / "black.png") == 0
        assert "no name" not in capsys.readouterr().out

    def test_unreadable_images_are_reported_and_skipped(self, run_folder, run_bc_sam, cell_files, tmp_path, capsys):
        for file in cell_files[:3]:
            shutil.copy(file, tmp_path / f"{file.parent.name}.png")
        (tmp_path / "broken.tiff").write_bytes(b"II*\0")
        assert run_bc_sam("predict", "--model", run_folder, "--no-abstain", tmp_path) == 3
        captured = capsys.readouterr()
        assert "Differential count" in captured.out
        assert "broken.tiff" in captured.err
        assert "1 of 4 images could not be read." in captured.err

    def test_only_unreadable_images_is_a_failure(self, run_folder, run_bc_sam, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"")
        assert run_bc_sam("predict", "--model", run_folder, tmp_path) == 1

    def test_a_model_in_the_place_of_cells_is_an_error_that_says_where_it_belongs(
        self, run_folder, run_bc_sam, cell_files, capsys
    ):
        for given in (run_folder, run_folder / "model"):
            assert run_bc_sam("predict", given, cell_files[0]) == 1
            assert f"--model {given}" in capsys.readouterr().err

    def test_patterns_and_missing_files(self, run_folder, run_bc_sam, cell_files, capsys):
        assert run_bc_sam("predict", "--model", run_folder, cell_files[0].parent / "*.png") == 0
        assert cell_files[0].name in capsys.readouterr().out
        assert run_bc_sam("predict", "--model", run_folder, "nowhere/*.png") == 1
        assert "nowhere" in capsys.readouterr().err

    def test_embed_writes_the_embeddings(self, run_folder, run_bc_sam, model, cell_files, tmp_path):
        assert run_bc_sam("embed", "--model", run_folder, *cell_files, "--out", tmp_path / "latents.npz") == 0
        archive = np.load(tmp_path / "latents.npz")
        assert archive["files"].tolist() == [str(file) for file in cell_files]
        np.testing.assert_allclose(archive["latents"], model.embed(cell_files), atol=1e-5)

    def test_info_describes_a_model(self, run_folder, run_bc_sam, capsys):
        assert run_bc_sam("info", run_folder) == 0
        out = capsys.readouterr().out
        assert "north, south" in out
        assert "neutrophil_segmented" in out

    def test_bench_recommends_a_batch_size(self, run_folder, run_bc_sam, capsys):
        assert run_bc_sam("bench", run_folder, "--seconds", 0.01) == 0
        printed = capsys.readouterr().out
        assert "Recommended: dtype=" in printed
        assert "bfloat16" in printed
