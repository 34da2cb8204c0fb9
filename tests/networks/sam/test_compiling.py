import copy
import pickle
import shutil

import pytest
import torch
from small_model import IMAGE_SIZE, small_sam

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
def test_compiled_blocks_give_the_same_features_for_full_and_smaller_batches(sam, images):
    expected = encode(sam, images)
    assert compile_blocks(sam, batch_size=3)
    for batch in (images[:3], images[3:]):
        start = 0 if len(batch) == 3 else 3
        assert torch.allclose(encode(sam, batch), expected[start : start + len(batch)], atol=1e-5)


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
