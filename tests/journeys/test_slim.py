"""Without extras, so without torch, cells are named, embedded, segmented and counted; the rest says what to install.

By default a process does without the packages of the extras. ``make test-slim`` sets BC_SAM_SLIM to an environment in
which they are not installed.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image
from small_model import small_model
from small_network import small_comparison

from bc_sam import load_model
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.data.images import find_images
from bc_sam.utils.extras import EXTRAS

SLIM = os.environ.get("BC_SAM_SLIM")
TORCH = 'Run: pip install "bc_sam[torch]"'

#: Commands that need torch, with their own words where there are any.
NEED_TORCH = {
    "predict cells --backend torch": "",
    "predict cells --device cuda": "",
    "embed cells --dtype bfloat16 --out other.npz": "",
    "predict cells --classifier rf": "bc-sam-tiny was exported to ONNX without the classifier rf",
    "predict cells --model not_exported": "not_exported has no export to ONNX",
    "predict cells --model resnet": "resnet is a model of the method resnet",
    "save bc-sam-tiny copy": "",
    "convert sam.pth epoch.pth autoencoder.pth model": "",
    "bench": "",
}
LOAD = "from bc_sam import load_model; model = load_model(); "
CODE_THAT_NEEDS_TORCH = (
    "from bc_sam import load_model; load_model(refit=True)",
    LOAD + "model.save_pretrained('copy')",
    LOAD + "model.save_pretrained('copy', half=False)",
    LOAD + "model.refit()",
    LOAD + "model.device",
)
SEGMENT = (
    LOAD + "import numpy as np; from bc_sam.data.images import find_images; "
    "masks = model.segment(sorted(find_images('cells'))[:3]); np.savez('masks.npz', *masks); "
    "assert 'ONNX Runtime' in repr(model)"
)
RENDER = LOAD + "import numpy as np; assert model.render(np.ones(50, np.float32)).shape == (128, 128, 3)"
FROM_HUB = (
    "from bc_sam import load_model; import numpy as np; "
    "np.save('hub.npy', load_model('{}').embed([np.zeros((64, 64, 3), np.uint8)]))"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, exported_model):
    folder = tmp_path_factory.mktemp("slim")
    write_rendered(folder / "cells", ("munich",), cells_per_class=2, seed=3)
    for mask in [file for file in find_images(folder / "cells") if "masks" in file.parts]:
        mask.unlink()
    Image.fromarray(draw_smear(400, 60, 12, ((0.4, 0.5),), 104)).save(folder / "field.png")
    small_model(classifiers=("logistic",)).save_pretrained(folder / "not_exported")
    small_comparison("resnet").save_pretrained(folder / "resnet")
    return folder


def run_slim(folder, commands, code):
    """What commands and code do in an installation without extras."""
    missing = [] if SLIM else [*EXTRAS]
    environment = {name: value for name, value in os.environ.items() if not (SLIM and name == "PYTHONPATH")}
    python = Path(SLIM).resolve() / "bin" / "python" if SLIM else sys.executable
    finished = subprocess.run(
        [python, Path(__file__).parents[1] / "slim.py"],
        input=json.dumps({"missing": missing, "commands": commands, "code": code}),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def slim(folder):
    commands = [
        "predict cells --no-abstain --csv cells.csv",
        "embed cells --out cells.npz",
        "count field.png --no-abstain",
        "info",
        *NEED_TORCH,
    ]
    return run_slim(folder, commands, [SEGMENT, RENDER, *CODE_THAT_NEEDS_TORCH])


@pytest.fixture(scope="module")
def with_torch():
    return load_model(device="cpu", dtype="float32", classifiers="default")


def test_cells_get_the_names_and_probabilities_of_torch(slim, folder, with_torch):
    status, _, stderr = slim["commands"]["predict cells --no-abstain --csv cells.csv"]
    assert (status, stderr.count("ONNX Runtime computes, as torch is not installed")) == (0, 1)
    rows = list(csv.DictReader((folder / "cells.csv").open()))
    assert len(rows) == 26
    files = [folder / row["file"] for row in rows]
    assert [row["name"] for row in rows] == with_torch.predict(files)
    probabilities = [[float(row[label]) for label in with_torch.labels] for row in rows]
    np.testing.assert_allclose(probabilities, with_torch.predict_proba(files), atol=1e-4)


def test_the_laboratory_is_judged(slim):
    assert "does not know" in slim["commands"]["predict cells --no-abstain --csv cells.csv"][1]


def test_cells_are_embedded(slim, folder, with_torch):
    stored = np.load(folder / "cells.npz")
    files = [folder / name for name in stored["files"].tolist()]
    np.testing.assert_allclose(stored["latents"], with_torch.embed(files), atol=1e-4)


def test_cells_are_segmented(slim, folder, with_torch):
    assert slim["errors"][SEGMENT] is None
    masks = np.load(folder / "masks.npz").values()
    expected = with_torch.segment(sorted(find_images(folder / "cells"))[:3])
    assert all((one == other).mean() > 0.999 for one, other in zip(masks, expected, strict=True))


def test_cells_of_a_field_are_counted(slim):
    status, stdout, _ = slim["commands"]["count field.png --no-abstain"]
    assert status == 0
    assert "field.png: 1 white cell" in stdout


def test_an_embedding_is_rendered(slim):
    assert slim["errors"][RENDER] is None


def test_a_model_is_described(slim):
    assert slim["commands"]["info"][0] == 0


@pytest.mark.parametrize("command", NEED_TORCH)
def test_a_command_that_needs_torch_says_how_to_install_it(slim, command):
    status, stdout, stderr = slim["commands"][command]
    lines = [line for line in stderr.splitlines() if not line.startswith("ONNX Runtime computes")]
    assert (status, stdout, len(lines)) == (1, "", 1), stderr
    assert lines[0].startswith(f"error: {NEED_TORCH[command]}")
    assert lines[0].endswith(TORCH)


@pytest.mark.parametrize("code", CODE_THAT_NEEDS_TORCH)
def test_so_does_python(slim, code):
    kind, message = slim["errors"][code]
    assert kind == "MissingPackageError"
    assert message.endswith(TORCH)


def test_models_are_loaded_from_the_hub(folder, hub, repo_id, exported_model):
    load_model(exported_model, device="cpu").push_to_hub(repo_id)
    code = FROM_HUB.format(repo_id)
    assert run_slim(folder, [], [code])["errors"][code] is None
    expected = load_model(exported_model, device="cpu", dtype="float32").embed([np.zeros((64, 64, 3), np.uint8)])
    np.testing.assert_allclose(np.load(folder / "hub.npy"), expected, atol=1e-4)


@pytest.mark.skipif(SLIM is None, reason="make test-slim builds the environment")
def test_the_environment_is_small():
    files = (path for path in Path(str(SLIM)).rglob("*") if path.is_file() and not path.is_symlink())
    assert sum(-(-path.stat().st_size // 4096) * 4096 for path in files) < 450 * 2**20
