"""Converted checkpoints of the original BC-SAM compute the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from original_checkpoints import PARITY, write_checkpoints

from bc_sam import BCSam
from bc_sam.networks.sam.encoding import cell_logits, encode, image_embeddings
from bc_sam.networks.sam.loading import load_sam


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The three files of the original."""
    return write_checkpoints(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def converted(checkpoints, run_bc_sam, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "model"
    files = (checkpoints / name for name in ("sam_vit.pth", "epoch_85.pth", "autoencoder.pth"))
    assert run_bc_sam("convert", *files, out) == 0
    return out


def test_features_equal_the_original(converted):
    expected = np.load(PARITY / "sam_tiny_expected.npz")
    model = BCSam.from_pretrained(converted, dtype="float32")
    features = encode(model.sam, torch.from_numpy(expected["preprocessed"]))
    np.testing.assert_allclose(features, expected["lora_feature"], atol=5e-5)


def test_cells_are_read_from_two_mask_tokens(converted):
    model = BCSam.from_pretrained(converted, dtype="float32")
    assert model.config.mask_tokens == "two"
    expected = np.load(PARITY / "sam_tiny_expected.npz")
    features = torch.from_numpy(expected["lora_feature"])
    embeddings = image_embeddings(model.sam, features)
    two = cell_logits(model.sam, features, mask_tokens="two")
    first, second = (
        model.sam(image_embeddings=embeddings, multimask_output=many).pred_masks[:, 0, 0] for many in (False, True)
    )
    softmax = torch.stack([first, second], dim=1).softmax(dim=1)[:, 1]
    torch.testing.assert_close(two.sigmoid(), softmax)
    assert [mask.shape for mask in model.segment(list(expected["images"]))] == [(224, 224)] * 2


def test_the_model_embeds_images(converted):
    images = np.load(PARITY / "sam_tiny_expected.npz")["images"]
    assert BCSam.from_pretrained(converted).embed(list(images)).shape == (2, 50)


def test_until_classifiers_are_fitted_every_command_says_how(converted, run_bc_sam, cell_files, tmp_path, capsys):
    out = tmp_path / "cells.npz"
    assert run_bc_sam("embed", *cell_files[:2], "--model", converted, "--out", out) == 0
    assert np.load(out)["latents"].shape == (2, 50)
    cells = "ours=rendered:munich:1"
    for command in (
        ("predict", cell_files[0], "--model", converted),
        ("evaluate", converted, "--data", cells),
        ("adapt", converted, "--data", cells, "--out", tmp_path / "run"),
    ):
        capsys.readouterr()
        assert run_bc_sam(*command) == 1
        assert "bc-sam fit" in capsys.readouterr().err
    assert "classifiers" in (converted / "README.md").read_text()
    assert "model.predict" not in (converted / "README.md").read_text()


@pytest.fixture(scope="module")
def fitted(converted, run_bc_sam, tmp_path_factory):
    """The converted model with classifiers fitted on rendered cells."""
    out = tmp_path_factory.mktemp("fitted") / "model"
    cells = ("--data", "ours=rendered:munich:2")
    assert run_bc_sam("fit", converted, *cells, "--classifiers", "logistic,rf", "--out", out) == 0
    return out


def test_after_fitting_on_labelled_cells_it_predicts(fitted, run_bc_sam, cell_files, capsys):
    assert run_bc_sam("predict", *cell_files[:2], "--model", fitted, "--no-abstain") == 0
    assert cell_files[0].name in capsys.readouterr().out
    model = BCSam.from_pretrained(fitted)
    assert tuple(model.classifiers) == ("logistic", "rf")
    assert (model.config.default_classifier, model.config.domains) == ("logistic", ("ours",))


def test_after_fitting_it_can_be_adapted(fitted, run_bc_sam, tmp_path):
    cells = ("--data", "other=rendered:barcelona:2", "--set", "training.autoencoder.epochs=0", "--folds", "2")
    assert run_bc_sam("adapt", fitted, *cells, "--out", tmp_path / "run") == 0
    assert BCSam.from_pretrained(tmp_path / "run").config.domains == ("ours", "other")


def test_classifiers_are_fitted_on_the_arrays_of_the_original(converted, run_bc_sam, tmp_path):
    """Its `train.py` numbers classes as LABELS, and Matek-19 and Acevedo-20 as 0 and 1."""
    labels = np.repeat([0, 9], 10)
    embeddings = np.random.default_rng(0).random((20, 50), dtype=np.float32) + labels[:, None]
    for name, values in {"X": embeddings, "y": labels, "dataset": np.arange(20) % 2}.items():
        np.save(tmp_path / f"{name}.npy", values)
    out = tmp_path / "model"
    options = ("--original", tmp_path, "--classifiers", "logistic", "--out", out)
    assert run_bc_sam("fit", converted, *options) == 0
    model = BCSam.from_pretrained(out)
    assert model.config.domains == ("acevedo20", "matek19")
    predicted = model.classifiers["logistic"].predict(embeddings)
    assert [model.labels[index] for index in predicted] == ["basophil"] * 10 + ["monocyte"] * 10
    np.testing.assert_array_equal(np.sort(model.reference.domains), np.repeat([0, 1], 10))


def test_a_file_that_would_execute_code_is_rejected(checkpoints, run_bc_sam, tmp_path, capsys):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    torch.save({"w_a_000": Harmful()}, tmp_path / "epoch_85.pth")
    files = (checkpoints / "sam_vit.pth", tmp_path / "epoch_85.pth", checkpoints / "autoencoder.pth")
    assert run_bc_sam("convert", *files, tmp_path / "model") == 1
    assert "epoch_85.pth" in capsys.readouterr().err
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "model").exists()


def test_the_base_is_a_plain_sam(converted):
    assert load_sam(converted / "base").config.vision_config.hidden_size == 96
