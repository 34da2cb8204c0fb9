"""A source of cells with every kind of fault, and a small model."""

import shutil
import zipfile

import pytest
from drawn_smear import draw_smear
from PIL import Image
from small_model import small_model

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.models.batch.run import run_batch
from bc_sam.models.batch.settings import BatchSettings


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """Six images, one that is none, one link that leads nowhere, and three in a zip. Copy it to change it."""
    folder = tmp_path_factory.mktemp("drawn") / "source"
    folder.mkdir()
    for seed in range(6):
        Image.fromarray(draw_smear(120, 20, white_cell=40, seed=seed)).save(folder / f"{seed}.png")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for seed in range(3):
            archive.write(folder / f"{seed}.png", f"copy{seed}.png")
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "broken.png").symlink_to("nowhere.png")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small model that normalizes images."""
    model = small_model(normalization=NormalizationConfig(30.0))
    return model.save_pretrained(tmp_path_factory.mktemp("batch") / "model")


@pytest.fixture(scope="session")
def settings(model_folder):
    """Blocks of two cells, so that a job has several."""
    return BatchSettings(model=str(model_folder), block_size=2, dtype="float32")


@pytest.fixture(scope="session")
def _finished_job(cells, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "out"
    run_batch(str(cells), folder, settings)
    return folder


@pytest.fixture
def finished(_finished_job, tmp_path):
    """The results of an unbroken job on `cells`."""
    return shutil.copytree(_finished_job, tmp_path / "finished")
