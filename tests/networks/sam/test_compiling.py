import copy
import pickle
import shutil

import numpy as np
import pytest
import torch
from small_model import IMAGE_SIZE, small_model, small_sam

from bc_sam import BCSam
from bc_sam.networks.features import inference_sam
from bc_sam.networks.sam import compiling
from bc_sam.networks.sam.compiling import compile_blocks
from bc_sam.networks.sam.encoding import encode


@pytest.fixture
def sam():
    return inference_sam(small_sam(), "cpu")


@pytest.fixture
def images():
    return torch.randn(5, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.skipif(shutil.which("g++") is None, reason="There is no C++ compiler here.")
def test_a_compiled_model_computes_the_same_for_full_and_smaller_batches(images, tmp_path):
    # In bfloat16, rounding may decide between two labels that are equally probable.
    folder = small_model().save_pretrained(tmp_path / "model")
    plain, compiled = (BCSam.from_pretrained(folder, dtype="float32") for _ in range(2))
    assert compiled.compile(batch_size=3)
    expected = encode(plain.sam, images)
    for rows in (slice(0, 3), slice(3, 5)):
        assert torch.allclose(encode(compiled.sam, images[rows]), expected[rows], atol=1e-5)
    cells = list(np.random.default_rng(0).integers(0, 256, (5, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8))
    assert compiled.predict(cells, batch_size=3) == plain.predict(cells)


def test_only_batches_of_the_given_size_run_compiled(sam, images, monkeypatch):
    sizes = []

    def compiler(forward, **options):
        def compiled(block, hidden):
            sizes.append(len(hidden))
            return forward(block, hidden)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    assert compile_blocks(sam, batch_size=3)
    sizes.clear()
    encode(sam, images[:3])
    assert sizes == [3, 3]
    encode(sam, images)
    assert sizes == [3, 3]


def test_copies_and_pickles_run_uncompiled(sam, images, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward, **options: lambda block, hidden: forward(block, hidden))
    assert compile_blocks(sam, batch_size=3)
    expected = encode(sam, images[:3])
    for other in (copy.deepcopy(sam), pickle.loads(pickle.dumps(sam))):
        assert not any(isinstance(layer, compiling.CompiledBlock) for layer in other.vision_encoder.layers)
        torch.testing.assert_close(encode(other, images[:3]), expected)


def test_without_a_compiler_the_model_is_unchanged(sam, images, monkeypatch, caplog):
    def no_compiler(forward, **options):
        def compiled(*inputs):
            raise RuntimeError("g++ not found\nand so on")

        return compiled

    expected = encode(sam, images)
    monkeypatch.setattr(torch, "compile", no_compiler)
    with caplog.at_level("INFO", logger=compiling.__name__):
        assert not compile_blocks(sam, batch_size=3)
    assert "g++ not found" in caplog.text
    assert torch.equal(encode(sam, images), expected)
