"""Decoding waits for memory by the declared size of an image, which may be a thousand times that of its file."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from bc_sam.data import load_folder
from bc_sam.data.batches import decoded_batches
from bc_sam.data.decoding_budget import BUDGET, memory_for
from bc_sam.data.preparation import Preparation, measure_source
from bc_sam.data.store import store_cells
from bc_sam.utils.byte_budget import ByteBudget

N_PIXELS = 300 * 200


def png():
    file = io.BytesIO()
    Image.new("RGBA", (300, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "cell.png").write_bytes(png())
    return tmp_path / "cell.png"


@pytest.mark.parametrize("form", ["bytes", "path", "text", "mapping", "path in a mapping", "image", "array"])
def test_the_declared_size_counts_in_every_form(file, form):
    source = {
        "bytes": png(),
        "path": file,
        "text": str(file),
        "mapping": {"bytes": png(), "path": "cell.png"},
        "path in a mapping": {"bytes": None, "path": str(file)},
        "image": Image.new("RGB", (300, 200)),
        "array": np.zeros((200, 300, 3), np.uint8),
    }[form]
    budget = ByteBudget(10**9)
    with memory_for(source, max_pixels=N_PIXELS, budget=budget):
        assert N_PIXELS * 4 < budget.used < N_PIXELS * 40


@pytest.mark.parametrize("source", [b"", b"no image", "missing.png", {"bytes": b"", "path": "x"}, None, 3, "."])
def test_what_cannot_be_decoded_needs_no_memory(source):
    budget = ByteBudget(10**9)
    with memory_for(source, max_pixels=N_PIXELS, budget=budget):
        assert budget.used == 0


def test_an_image_beyond_the_limit_of_pixels_needs_no_memory():
    budget = ByteBudget(10**9)
    with memory_for(png(), max_pixels=N_PIXELS - 1, budget=budget):
        assert budget.used == 0


@pytest.fixture(params=["batch", "measurement", "store"])
def read(request, tmp_path):
    """A function that decodes an image."""
    (tmp_path / "cells" / "monocyte").mkdir(parents=True)
    (tmp_path / "cells" / "monocyte" / "cell.png").write_bytes(png())
    dataset = load_folder(tmp_path / "cells", domain="cells")
    return {
        "batch": lambda: next(decoded_batches([png()], Preparation(32), 1)).pixels,
        "measurement": lambda: measure_source(png()),
        "store": lambda: store_cells([dataset], tmp_path / "store", 32),
    }[request.param]


def test_decoding_waits_until_others_have_finished(read):
    with ThreadPoolExecutor(1) as pool:
        with BUDGET.reserved(BUDGET.limit):
            reading = pool.submit(read)
            while not BUDGET.n_waiting:
                assert not reading.done()
            assert not reading.done()
        assert reading.result() is not None
    assert BUDGET.used == 0
