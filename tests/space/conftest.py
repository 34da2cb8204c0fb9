"""A small model fitted to rendered cells, a page that serves it, and a browser."""

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_smear import draw_smear
from example_evaluation import example_evaluation
from PIL import Image
from small_model import small_model

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.labels import LABELS
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell

CLASSES = ("basophil", "eosinophil", "lymphocyte_typical", "monocyte")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def rendered(label, laboratory, seed, size=96):
    return render_cell(label, LABORATORIES[laboratory], np.random.default_rng(seed), size)[0]


def disc_masks(image_embeddings, **_):
    """Replaces a trained mask decoder: the mask is a central disc, where rendered cells are."""
    rows, columns = np.indices((16, 16)) - 7.5
    disc = torch.tensor(25 - rows**2 - columns**2, dtype=torch.float32)
    return SimpleNamespace(pred_masks=disc.expand(len(image_embeddings), 1, 1, 16, 16))


@pytest.fixture(scope="session")
def model():
    """Random weights, with classifiers fitted to rendered cells of two laboratories."""
    made = small_model()
    cells = [(label, place, seed) for label in CLASSES for place in (0, 1) for seed in range(6)]
    laboratories = tuple(LABORATORIES)[:2]
    images = [rendered(label, laboratories[place], seed) for label, place, seed in cells]
    latents = made.embed(images)
    labels = np.array([LABELS.index(label) for label, _, _ in cells])
    domains = np.array([place for _, place, _ in cells])
    # The second laboratory has no thumbnails, as if its images had to stay private.
    made.reference = ReferenceLatents.sample(latents, labels, domains, image=images.__getitem__)
    kept = zip(made.reference.thumbnails, made.reference.domains, strict=True)
    pictures = tuple(picture if domain == 0 else b"" for picture, domain in kept)
    made.reference = replace(made.reference, thumbnails=pictures)
    made.classifiers = made.reference.fit(("logistic", "rf"), len(LABELS))
    made.evaluation = example_evaluation()
    made.sam.forward = disc_masks
    return made


@pytest.fixture(scope="session")
def cell_files(tmp_path_factory):
    """Training cells of the model, as files of several formats."""
    folder = tmp_path_factory.mktemp("cells")
    files = []
    for number, label in enumerate(CLASSES):
        file = folder / f"{label}.{('png', 'jpg', 'tiff', 'bmp')[number]}"
        Image.fromarray(rendered(label, "munich", 0)).save(file)
        files.append(file)
    return files


@pytest.fixture(scope="session")
def field_files(tmp_path_factory):
    """Two drawn fields, 60 µm wide, of two white cells and one."""
    folder = tmp_path_factory.mktemp("fields")
    for number, places in enumerate((((0.3, 0.3), (0.7, 0.6)), ((0.4, 0.5),)), start=1):
        Image.fromarray(draw_smear(480, 60, 14, places, 104, seed=number)).save(folder / f"field{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def serve(model):
    """Serves the page on loopback with given settings, until the session ends."""
    from bc_sam.space.page import build, launch_options
    from bc_sam.space.server.settings import PageSettings
    from bc_sam.space.server.uploads import UploadFolder

    open_pages = []

    def run(**changes):
        settings = PageSettings(**changes)
        page = build(model, settings, "small-model")
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings))
        open_pages.append(page)
        return address.rstrip("/")

    with UploadFolder(600) as uploads:
        run.uploads = uploads.path
        yield run
        for page in open_pages:
            page.close()


@pytest.fixture(scope="session")
def public(serve):
    """The address of a public page."""
    return serve(public=True)


@pytest.fixture(scope="session")
def browser():
    """Chromium or Chrome; ``BC_SAM_BROWSER`` overrides the executable."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("BC_SAM_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        said = f"There is no browser: none of {', '.join(BROWSERS)}, and BC_SAM_BROWSER names none."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()
