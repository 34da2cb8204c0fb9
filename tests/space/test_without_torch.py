"""The page works in an installation with the extra ``space`` alone, which has no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import IMAGE_SIZE

from bc_sam.utils.extras import EXTRAS

#: What the extra installs.
INSTALLED = {"gradio", "datasets", "pyarrow", "sklearn", "skops"}

OPEN = """
import sys
from bc_sam.space.page import build
from bc_sam import load_model
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.cell_view import view_upload
from bc_sam.space.views.slide_inference import predict_slide
from pathlib import Path
files = sorted(Path("cells").iterdir())
model = load_model("model", device="cpu")
build(model, PageSettings())
loaded = LoadedModel("small", model)
view = view_upload(loaded, files[0], PageSettings())
assert view.crop and view.rendered and view.probabilities
*_, slide = predict_slide(loaded, files, PageSettings())
assert all(cell.thumbnail and cell.embedding is not None for cell in slide.cells)
loaded_early = {"torch", "transformers", "sklearn", "skops", "datasets", "scipy.stats"} & sys.modules.keys()
assert not loaded_early, loaded_early
"""

ADAPT = """
import base64, io, zipfile
import numpy as np
from bc_sam import load_model
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_adaptation import NamedCells, adapt, zip_model
loaded = LoadedModel("small", load_model("model", device="cpu"))
rng = np.random.default_rng(0)
labels = np.repeat([0, 3], 12)
embeddings = (rng.standard_normal((24, loaded.model.config.latent_dim)) + labels[:, None]).astype(np.float32)
cells = NamedCells(embeddings, labels, loaded.model.classifiers["logistic"].predict_proba(embeddings))
adapted = adapt(loaded, "logistic", cells)
with zipfile.ZipFile(io.BytesIO(base64.b64decode(zip_model(loaded, adapted)))) as archive:
    archive.extractall("download")
"""

DRAW = """
from bc_sam import load_model
from bc_sam.space.views.loaded_models import LoadedModel
loaded = LoadedModel("small", load_model("model", device="cpu"))
assert len(loaded.map.points) and loaded.card
"""

NOT_EXPORTED = """
from bc_sam import load_model
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.loaded_models import LoadedModel, Models
Models(LoadedModel("small", load_model("model", device="cpu")), PageSettings()).get("resnet")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, exported_model):
    from small_network import small_comparison

    folder = tmp_path_factory.mktemp("page")
    (folder / "model").symlink_to(exported_model)
    (folder / "cells").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (IMAGE_SIZE, 70, 3), np.uint8)).save(folder / "cells" / f"{number}.png")
    small_comparison("resnet").save_pretrained(folder / "resnet")
    return folder


@pytest.fixture(scope="module")
def errors(folder):
    task = {"missing": sorted(EXTRAS.keys() - INSTALLED), "commands": [], "code": [OPEN, ADAPT, DRAW, NOT_EXPORTED]}
    finished = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "slim.py"],
        input=json.dumps(task),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout)["errors"]


def test_a_cell_and_a_slide_are_answered_and_nothing_heavy_is_imported(errors):
    assert errors[OPEN] is None


def test_a_classifier_learns_and_is_downloaded(errors, folder):
    from bc_sam import load_model

    assert errors[ADAPT] is None
    model = load_model(folder / "download" / "adapted", device="cpu")
    assert list(model.classifiers) == ["logistic"]
    assert model.config.domains[-1] == "ours"


def test_the_map_and_the_card_are_drawn(errors):
    assert errors[DRAW] is None


def test_a_model_that_needs_torch_says_so(errors):
    kind, message = errors[NOT_EXPORTED]
    assert kind == "MissingPackageError"
    assert message.endswith('is needed. Run: pip install "bc_sam[torch]"')
