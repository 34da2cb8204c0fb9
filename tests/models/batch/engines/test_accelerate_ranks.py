"""Without a launcher, Accelerate is one process, which takes all blocks; two processes are tried if asked for."""

import json
import os
import subprocess
import sys

import pytest
from drawn_smear import draw_smear
from PIL import Image
from pyarrow import parquet

from bc_sam.models.batch.run import run_batch


def parts(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def test_one_process(cells, settings, finished, tmp_path):
    manifest = run_batch(str(cells), tmp_path / "out", settings, engine="accelerate")
    assert parts(tmp_path / "out") == parts(finished)
    assert manifest.engine == {"name": "accelerate", "workers": 1}


@pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")
def test_two_processes_share_the_blocks(cells, settings, finished, tmp_path):
    out = tmp_path / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command = ["predict", str(cells), "--out", str(out), "--engine", "accelerate", "--block-size", "2"]
    command += ["--model", settings.model, "--dtype", "float32"]
    done = subprocess.run([*launcher, "-m", "bc_sam", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The last digits differ from those of one process.
    for row, expected in zip(*(parquet.read_table(folder).to_pylist() for folder in (out, finished)), strict=True):
        for name in ("cell_id", "name", "likeliest", "reasons", "error"):
            assert row[name] == expected[name]
        if expected["embedding"] is not None:
            assert row["embedding"] == pytest.approx(expected["embedding"], abs=1e-4)
    assert json.loads((out / "_manifest.json").read_text())["engine"]["workers"] == 2


@pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")
def test_two_processes_count_fields_with_onnx_runtime(tmp_path):
    for seed in (1, 2, 3):
        Image.fromarray(draw_smear(400, 60, 12, ((0.4, 0.5),), 104, seed=seed)).save(tmp_path / f"{seed}.png")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command = ["count", str(tmp_path), "--out", str(tmp_path / "two"), "--engine", "accelerate"]
    command += ["--backend", "onnx", "--block-size", "1"]
    done = subprocess.run([*launcher, "-m", "bc_sam", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 white cells in 3 fields, 0 of them without a result" in done.stdout
    assert parquet.read_table(tmp_path / "two" / "cells")["cell_id"].to_pylist() == ["1.png#1", "2.png#1", "3.png#1"]
