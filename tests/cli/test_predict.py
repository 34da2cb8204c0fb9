"""`predict` and `embed` print the scale that the images share, and take it from the command line."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image
from small_model import small_model
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.config.normalization import NormalizationConfig


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(3):
        Image.fromarray(draw_smear(200, 33, white_cell=66, seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of a model that normalizes images, and of one that does not."""
    folder = tmp_path_factory.mktemp("models")
    small_model(normalization=NormalizationConfig(30.0)).save_pretrained(folder / "normalized")
    small_model().save_pretrained(folder / "square")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_measured_scale_is_printed(cells, models):
    result = run("predict", cells, "--model", models / "normalized")
    assert result.exit_code == 0
    assert "scale: 0.2" in result.stderr
    assert "µm per pixel by red cells (3 of 3 images measured)." in result.stderr
    assert "scale" not in run("predict", cells, "--model", models / "square").stderr


def test_a_given_scale_is_used(cells, models):
    result = run("predict", cells, "--model", models / "normalized", "--microns-per-pixel", 0.25)
    assert "scale: 0.25 µm per pixel as given." in result.stderr


def test_a_model_that_does_not_normalize_says_that_it_has_no_effect(cells, models):
    result = run("predict", cells, "--model", models / "square", "--microns-per-pixel", 0.25)
    assert result.exit_code == 0
    assert "--microns-per-pixel has no effect" in result.stderr


def test_a_single_image_works(cells, models):
    assert run("predict", cells / "0.png", "--model", models / "normalized").exit_code == 0


@pytest.mark.parametrize("images", ["", "0.png"])
def test_an_implausible_scale_is_rejected(cells, models, images):
    result = run("predict", cells / images, "--model", models / "normalized", "--microns-per-pixel", 7.5)
    assert result.exit_code != 0
    assert "microns_per_pixel must be between" in str(result.exception) + result.output


def test_embeddings_are_those_of_the_given_scale(cells, models, tmp_path):
    model = small_model(normalization=NormalizationConfig(30.0))
    files = sorted(cells.iterdir())
    for options, size in (((), None), (("--microns-per-pixel", 0.25), 0.25)):
        inputs = (cells, "--out", tmp_path / "e.npz", "--model", models / "normalized", "--dtype", "float32")
        assert run("embed", *inputs, *options).exit_code == 0
        written = np.load(tmp_path / "e.npz")["latents"]
        np.testing.assert_allclose(written, model.embed(files, microns_per_pixel=size), atol=1e-4)
