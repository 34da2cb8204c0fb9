"""`bc-sam export` writes the export of a model, and `--backend onnx` uses it."""

import shutil

import numpy as np
import pytest
from PIL import Image
from small_model import small_model
from small_network import small_comparison
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.errors import ConfigError
from bc_sam.models.folder import check_files, load_config

NETWORKS = "onnx/networks.onnx"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_copy_is_exported_and_the_model_left_as_it_is(tmp_path):
    folder = small_model(classifiers=("logistic",)).save_pretrained(tmp_path / "model")
    result = run("export", folder, "--out", tmp_path / "copy")
    assert f"Written: {tmp_path / 'copy' / 'onnx'}" in result.stdout
    assert not (folder / "onnx").exists()
    check_files(tmp_path / "copy", load_config(tmp_path / "copy"))
    assert NETWORKS in load_config(tmp_path / "copy").files


def test_a_model_that_has_no_folder_needs_one_for_a_copy():
    assert isinstance(run("export", "bc-sam-tiny").exception, ConfigError)


def test_only_bc_sam_is_exported(tmp_path):
    folder = small_comparison("resnet").save_pretrained(tmp_path / "model")
    assert "only BC-SAM can be exported" in str(run("export", folder).exception)


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_both_backends_give_the_same(exported_model, tmp_path, command):
    cells = tmp_path / "cells"
    cells.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), np.uint8)
        Image.fromarray(pixels).save(cells / f"{seed}.png")
    out = {"predict": ("--csv", ".csv"), "embed": ("--out", ".npz")}[command]
    results = {}
    for backend in ("torch", "onnx"):
        file = tmp_path / f"{backend}{out[1]}"
        arguments = (cells, "--model", exported_model, out[0], file, "--dtype", "float32", "--device", "cpu")
        results[backend] = run(command, *arguments, "--backend", backend)
        assert results[backend].exit_code == 0
    assert results["torch"].stdout == results["onnx"].stdout


def test_a_backend_that_there_is_not_is_a_wrong_option(exported_model, tmp_path):
    assert run("predict", tmp_path, "--model", exported_model, "--backend", "tensorrt").exit_code == 2


def test_export_and_model_are_copied_together(exported_model, tmp_path):
    assert run("save", shutil.copytree(exported_model, tmp_path / "model"), tmp_path / "copy").exit_code == 0
    assert NETWORKS in load_config(tmp_path / "copy").files
