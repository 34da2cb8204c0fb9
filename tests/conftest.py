"""Shared fixtures: a local Hub server, the folder of real images, fitted classifiers, isolated global state."""

import os

# One thread in each process, which libraries read on import: the workers of pytest-xdist do not compete for cores, and
# every process rounds sums in the same order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MATPLOTLIBRC", os.path.join(os.path.dirname(__file__), "matplotlibrc"))

import re
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server.session import HubSession
from hypothesis import HealthCheck, settings
from made_once import copied, made_once

from bc_sam.config.labels import LABELS

# No deadline, for slow machines. Examples may share a function-scoped folder, in which each overwrites the last one.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("untimed")

HUB = HubSession()  # not a fixture, since libraries read the environment once, on import


def pytest_unconfigure():
    HUB.close()


@pytest.fixture
def hub(monkeypatch):
    """The local Hub server without faults, logged in as alice."""
    running = HUB.hub()
    running.fault()
    running.log()
    monkeypatch.setenv("HF_TOKEN", running.ALICE)
    monkeypatch.setattr("datasets.config.USE_PARQUET_EXPORT", False)  # it would contact another host than the Hub
    return running


@pytest.fixture
def repo_id(request):
    """Id of a repository of alice that does not exist yet, named after the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return f"alice/{name}-{secrets.token_hex(3)}"


@pytest.fixture
def without_xet(monkeypatch):
    """Transfers large files by LFS, as without hf_xet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture(params=["xet", "lfs"])
def transfer(request):
    """Runs a test with both transfer protocols for large files."""
    if request.param == "lfs":
        request.getfixturevalue("without_xet")
    return request.param


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real images, which are not part of the repository."""
    folder = Path(os.environ.get("BC_SAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"The real images are not in {folder}. Set BC_SAM_DATA to their folder.")
    return folder


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Resets the device and precision that Accelerate keeps in class attributes between tests."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


@pytest.fixture(scope="session")
def labelled_latents() -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, 8) and labels (n,) of five separable, non-contiguous classes, one with a single cell."""
    labels = np.repeat([0, 2, 3, 7, 11], [20, 12, 5, 2, 1])
    noise = np.random.default_rng(0).standard_normal((len(labels), 8))
    return noise + 4 * np.eye(len(LABELS), 8)[labels % 8], labels


@pytest.fixture(scope="session")
def fitted_classifiers(labelled_latents):
    """Every kind of classifier, fitted on `labelled_latents`."""
    from bc_sam.classifiers.fitting import fit_classifiers
    from bc_sam.classifiers.kinds import KINDS

    return fit_classifiers(tuple(KINDS), *labelled_latents, n_labels=len(LABELS))


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory) -> Path:
    """Folder of a small model with its export to ONNX. Copy it before changing anything in it."""
    from small_model import small_model

    from bc_sam.models.onnx_backend.export import export_to_folder

    def export(folder):
        small_model(average_turns=True).save_pretrained(folder)
        export_to_folder(folder)

    return copied(made_once(tmp_path_factory, "exported", export), tmp_path_factory)
