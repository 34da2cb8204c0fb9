"""What all tests share: a Hub on loopback, the folder of real images, fitted classifiers, and a clean state."""

import os
import re
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server.session import HubSession
from hypothesis import HealthCheck, settings

from bc_sam.config.labels import LABELS

# A slow machine is no failure; and examples may share a folder, in which each writes over what the last one wrote.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("untimed")

HUB = HubSession()  # here, and not in a fixture: what is imported later reads the environment once


def pytest_unconfigure():
    HUB.close()


@pytest.fixture
def hub(monkeypatch):
    """The Hub on loopback, where alice is logged in and all is well."""
    running = HUB.hub()
    running.fault()
    running.log()
    monkeypatch.setenv("HF_TOKEN", running.ALICE)
    monkeypatch.setattr("datasets.config.USE_PARQUET_EXPORT", False)  # else it looks for a host beside the Hub's
    return running


@pytest.fixture
def repo_id(request):
    """The id of a repository of alice that does not exist yet, named for the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return f"alice/{name}-{secrets.token_hex(3)}"


@pytest.fixture
def without_xet(monkeypatch):
    """Large files go by LFS, as they do where hf_xet is not installed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture(params=["xet", "lfs"])
def transfer(request):
    """Runs a test with both of the ways in which large files travel."""
    if request.param == "lfs":
        request.getfixturevalue("without_xet")
    return request.param


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds the real images, which are not part of the repository."""
    folder = Path(os.environ.get("BC_SAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"The real images are not in {folder}; BC_SAM_DATA may name their folder.")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_each_worker():
    """Keeps the workers of pytest-xdist from fighting over the cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Accelerate keeps its device and precision in class attributes; without this a test would pass them on."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


@pytest.fixture(scope="session")
def labelled_latents() -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, 8) and labels (n,) of five separable classes with gaps between them, one of a single cell."""
    labels = np.repeat([0, 2, 3, 7, 11], [20, 12, 5, 2, 1])
    noise = np.random.default_rng(0).standard_normal((len(labels), 8))
    return noise + 4 * np.eye(len(LABELS), 8)[labels % 8], labels


@pytest.fixture(scope="session")
def fitted_classifiers(labelled_latents):
    """Every kind of classifier, fitted on `labelled_latents`."""
    from bc_sam.classifiers.fitting import fit_classifiers
    from bc_sam.classifiers.kinds import KINDS

    return fit_classifiers(tuple(KINDS), *labelled_latents, n_labels=len(LABELS))
