from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.numpy import load_file
from small_model import IMAGE_SIZE, small_sam

from bc_sam.config.model import BCSamConfig
from bc_sam.data import load_rendered
from bc_sam.data.cell_crop import cell_target
from bc_sam.data.store import store_cells
from bc_sam.networks import features as features_module
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.features import (
    embed_cells_in_turns,
    embed_features,
    encode_pixels,
    extract_features,
    inference_sam,
    predict_masks,
)
from bc_sam.networks.sam.lora import add_lora

CONFIG = BCSamConfig(image_size=IMAGE_SIZE, feature_channels=32)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Thirteen cells, the last one a duplicate of the first."""
    dataset = load_rendered("munich", cells_per_class=1).select([*range(12), 0])
    return store_cells([dataset], tmp_path_factory.mktemp("cells"), IMAGE_SIZE)


@pytest.fixture(scope="module")
def sam():
    return inference_sam(small_sam(), "cpu")


@pytest.fixture
def encoded(monkeypatch):
    """Counts the images that were encoded; a shard holds five cells."""
    monkeypatch.setattr(features_module, "SHARD_CELLS", 5)
    counts = []

    def counting(sam, config, pixels):
        counts.append(len(pixels))
        return encode_pixels(sam, config, pixels)

    monkeypatch.setattr(features_module, "encode_pixels", counting)
    return counts


def extract(sam, cells, folder, config=CONFIG):
    return extract_features(sam, config, cells, folder, accelerator=Accelerator(cpu=True), batch_size=2)


def test_the_store_has_the_features_of_each_cell(sam, cells, tmp_path, encoded):
    store = extract(sam, cells, tmp_path)
    maps = encode_pixels(sam, CONFIG, cells.pixels[:])
    masks = predict_masks(sam, CONFIG, maps)
    np.testing.assert_allclose(store.maps[:], maps.half(), atol=1e-2)
    assert (store.masks[:] == masks).mean() > 0.999
    for row in range(len(cells)):
        assert np.array_equal(store.targets[row], cell_target(cells.pixels[row], store.masks[row]))


def test_each_image_is_encoded_once_including_duplicates(sam, cells, tmp_path, encoded):
    extract(sam, cells, tmp_path)
    assert sum(encoded) == 12
    extract(sam, cells, tmp_path)
    assert sum(encoded) == 12


def test_an_interrupted_extraction_is_resumed(sam, cells, tmp_path, encoded, monkeypatch):
    write, written = features_module.write_shard, []

    def killed(*args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(args)
        write(*args)

    monkeypatch.setattr(features_module, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(sam, cells, tmp_path)
    monkeypatch.setattr(features_module, "write_shard", write)
    encoded.clear()
    interrupted = extract(sam, cells, tmp_path)
    assert sum(encoded) == 2
    whole = extract(sam, cells, tmp_path / "at once")
    assert np.array_equal(interrupted.maps[:], whole.maps[:])


def test_only_a_damaged_shard_is_recomputed(sam, cells, tmp_path, encoded):
    before = extract(sam, cells, tmp_path).maps[:]
    shard = sorted(tmp_path.iterdir())[0]
    n_cells = len(load_file(shard)["digests"])
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    encoded.clear()
    assert np.array_equal(extract(sam, cells, tmp_path).maps[:], before)
    assert sum(encoded) == n_cells < 12


@pytest.mark.parametrize("change", ["weights", "dtype", "pixel mean"])
def test_another_encoder_recomputes_everything(cells, sam, tmp_path, encoded, change):
    extract(sam, cells, tmp_path)
    encoded.clear()
    config = replace(CONFIG, image_mean=(1.0, 2.0, 3.0)) if change == "pixel mean" else CONFIG
    other = inference_sam(small_sam(seed=int(change == "weights")), "cpu", "bf16" if change == "dtype" else "no")
    extract(other, cells, tmp_path, config)
    assert sum(encoded) == 12


def test_only_the_encoder_is_cast_and_the_original_is_unchanged(sam):
    adapter = add_lora(small_sam())
    ready = inference_sam(adapter, "cpu", "bf16")
    assert {p.dtype for p in ready.vision_encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in ready.mask_decoder.parameters()} == {torch.float32}
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in ready.parameters())


def test_latents_do_not_depend_on_the_batch_size(sam, cells, tmp_path, encoded):
    store, autoencoder = extract(sam, cells, tmp_path), new_autoencoder(32, 4, (8,) * 7, seed=0).eval()
    full, batched = (embed_features(autoencoder, store.maps, batch_size) for batch_size in (256, 4))
    assert full.shape == (13, 4)
    np.testing.assert_allclose(full, batched, atol=1e-5)


def test_cells_are_embedded_in_four_orientations(sam, cells, tmp_path, encoded):
    store, autoencoder = extract(sam, cells, tmp_path), new_autoencoder(32, 4, (8,) * 7, seed=0).eval()
    encoded.clear()
    averaged = embed_cells_in_turns(sam, autoencoder, CONFIG, cells, store.maps)
    assert sum(encoded) == 3 * len(cells)
    turned = [np.ascontiguousarray(np.rot90(cells.pixels[:2], k, axes=(1, 2))) for k in range(4)]
    with torch.inference_mode():
        expected = np.mean([autoencoder.encode(encode_pixels(sam, CONFIG, each)).numpy() for each in turned], axis=0)
    np.testing.assert_allclose(averaged[:2], expected, atol=1e-3)  # stored in half precision
    assert abs(averaged - embed_features(autoencoder, store.maps)).max() > 1e-2
