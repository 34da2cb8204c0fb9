import json
import shutil

import pytest
import torch
from huggingface_hub.errors import HFValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import SamModel

from bc_sam.errors import ConfigError, HubError, UntrustedFileError, WeightsError
from bc_sam.networks.sam.encoding import cell_logits, encode, image_embeddings
from bc_sam.networks.sam.loading import load_sam, resize_sam, tiny_sam_config
from bc_sam.networks.sam.resizing import keep_mask_tokens
from bc_sam.utils import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def largest_difference(first, second):
    return (first - second).abs().max().item()


@pytest.fixture
def broken_folder(sam_folder, tmp_path):
    """A copy of the saved model for tests to damage."""
    return shutil.copytree(sam_folder, tmp_path / "broken")


class TestParity:
    def test_a_1024_px_folder_loaded_at_224_px_matches_the_original(self, sam_folder, expected, no_network):
        sam = load_sam(sam_folder, image_size=224)
        with torch.no_grad():
            features = encode(sam, expected["preprocessed"])
            embeddings = image_embeddings(sam, features)
        assert largest_difference(features, expected["base_feature"]) <= 5e-5
        assert largest_difference(embeddings, expected["base_embedding"]) <= 5e-5

    def test_an_original_pth_loads_as_the_same_model(self, sam_folder, original_state, tmp_path):
        torch.save(original_state, tmp_path / "sam.pth")
        assert equal(load_sam(tmp_path / "sam.pth").state_dict(), load_sam(sam_folder).state_dict())

    def test_a_pth_that_does_not_fit_is_named(self, original_state, tmp_path):
        del (incomplete := dict(original_state))["image_encoder.neck.0.weight"]
        torch.save(incomplete, tmp_path / "half.pth")
        with pytest.raises(WeightsError, match=r"half\.pth.*missing: image_encoder\.neck\.0\.weight"):
            load_sam(tmp_path / "half.pth")


class TestTiny:
    def test_has_the_documented_size_and_attends_globally(self):
        sam = load_sam("tiny")
        assert sum(p.numel() for p in sam.vision_encoder.parameters()) == pytest.approx(5.65e6, rel=0.01)
        assert all(layer.window_size == 0 for layer in sam.vision_encoder.layers)
        assert not sam.training
        assert {p.dtype for p in sam.parameters()} == {torch.float32}

    def test_is_determined_by_its_seed(self):
        first, same, other = (load_sam("tiny", seed=seed).state_dict() for seed in (1, 1, 2))
        assert equal(first, same)
        assert not equal(first, other)

    def test_leaves_the_global_generator_alone(self):
        before = torch.get_rng_state()
        load_sam("tiny")
        assert torch.equal(torch.get_rng_state(), before)

    def test_lets_a_signal_through(self):
        images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            features = encode(load_sam("tiny"), images)
        assert (features[0] - features[1]).std() > 0.1

    def test_encodes_neighbouring_positions_similarly(self):
        codes = load_sam("tiny").get_image_wide_positional_embeddings()[0].detach()
        near = torch.nn.functional.cosine_similarity(codes[:, 7, 7], codes[:, 7, 8], dim=0)
        far = torch.nn.functional.cosine_similarity(codes[:, 7, 7], codes[:, 0, 13], dim=0)
        assert near > 0.5 > far.abs() + 0.2

    @given(st.integers(-64, 400))
    def test_refuses_sizes_that_are_not_a_multiple_of_16(self, size):
        if size > 0 and size % 16 == 0:
            assert tiny_sam_config(size).prompt_encoder_config.image_embedding_size == size // 16
        else:
            with pytest.raises(ConfigError, match=str(size)):
                tiny_sam_config(size)


class TestResize:
    def test_survives_saving(self, sam, expected, tmp_path):
        sam.save_pretrained(tmp_path)
        reloaded = SamModel.from_pretrained(tmp_path)
        with torch.no_grad():
            first, second = (encode(model, expected["preprocessed"]) for model in (sam, reloaded))
            assert torch.allclose(first, second, atol=1e-4)
            assert torch.allclose(cell_logits(sam, first), cell_logits(reloaded, second), atol=1e-4)

    @settings(max_examples=5)
    @given(st.integers(2, 20))
    def test_works_at_any_multiple_of_the_patch_size(self, sam_1024, grid):
        size = 16 * grid
        sam = resize_sam(sam_1024, size)
        with torch.no_grad():
            features = encode(sam, torch.zeros(1, 3, size, size))
            assert features.shape == (1, 96, grid, grid)
            assert cell_logits(sam, features).shape == (1, 4 * grid, 4 * grid)

    def test_changes_neither_the_original_nor_windowed_blocks(self, sam_1024, original_state):
        small = resize_sam(sam_1024, 448).state_dict()
        big = sam_1024.state_dict()
        assert sam_1024.config.vision_config.image_size == 1024
        assert torch.equal(big["vision_encoder.pos_embed"], original_state["image_encoder.pos_embed"])
        changed = {name for name in big if big[name].shape != small[name].shape}
        globals_ = {f"vision_encoder.layers.{i}.attn.rel_pos_{axis}" for i in (2, 5, 8, 11) for axis in "hw"}
        assert changed == {"vision_encoder.pos_embed"} | globals_

    def test_to_its_own_size_returns_the_model_itself(self, sam):
        assert resize_sam(sam, 224) is sam

    @pytest.mark.parametrize("size", [0, -16, 225])
    def test_refuses_partial_patches(self, sam, size):
        with pytest.raises(ConfigError, match="multiple"):
            resize_sam(sam, size)


class TestMaskTokens:
    def test_the_first_tokens_keep_their_weights(self, sam):
        cut = keep_mask_tokens(sam, 2)
        assert cut.mask_decoder.num_mask_tokens == cut.config.mask_decoder_config.num_multimask_outputs + 1 == 2
        assert torch.equal(cut.mask_decoder.mask_tokens.weight, sam.mask_decoder.mask_tokens.weight[:2])

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_refuses_a_count_out_of_range(self, sam, count):
        with pytest.raises(ConfigError, match="keep 2 to 4"):
            keep_mask_tokens(sam, count)


class TestBadWeights:
    def rewrite(self, folder, change):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    def test_a_missing_tensor_is_named(self, broken_folder):
        self.rewrite(broken_folder, lambda weights: weights.pop("vision_encoder.layers.3.attn.rel_pos_h"))
        with pytest.raises(WeightsError, match=r"missing: vision_encoder\.layers\.3\.attn\.rel_pos_h"):
            load_sam(broken_folder)

    def test_a_misshapen_tensor_is_named_with_both_shapes(self, broken_folder):
        self.rewrite(
            broken_folder, lambda weights: weights.update({"vision_encoder.pos_embed": torch.zeros(1, 14, 14, 96)})
        )
        with pytest.raises(WeightsError, match=r"pos_embed \(1, 14, 14, 96\) instead of \(1, 64, 64, 96\)"):
            load_sam(broken_folder)

    def test_an_unexpected_tensor_is_named(self, broken_folder):
        self.rewrite(broken_folder, lambda weights: weights.update({"adapter.extra": torch.zeros(1)}))
        with pytest.raises(WeightsError, match=r"unexpected: adapter\.extra"):
            load_sam(broken_folder)

    def test_a_truncated_file_is_named(self, broken_folder):
        file = broken_folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(WeightsError, match="broken"):
            load_sam(broken_folder)

    @pytest.mark.parametrize("config", ["{", '{"model_type": "sam", "vision_config": {"hidden_size": "wide"}}'])
    def test_a_broken_configuration_is_named(self, broken_folder, config):
        (broken_folder / "config.json").write_text(config)
        with pytest.raises(WeightsError, match="broken"):
            load_sam(broken_folder)

    def test_another_kind_of_model_is_refused(self, broken_folder):
        (broken_folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
        with pytest.raises(WeightsError, match="'vit'"):
            load_sam(broken_folder)

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_a_missing_file_is_named(self, broken_folder, name):
        (broken_folder / name).unlink()
        with pytest.raises(WeightsError, match=name):
            load_sam(broken_folder)

    def test_a_pickle_is_not_opened(self, broken_folder):
        (broken_folder / "model.safetensors").rename(broken_folder / "pytorch_model.bin")
        with pytest.raises(UntrustedFileError, match="save_pretrained"):
            load_sam(broken_folder)


class TestHub:
    @pytest.mark.parametrize("source", ["no/such/folder", "./here", "missing.pth", "plain"])
    def test_a_path_that_does_not_exist_is_not_looked_up(self, source, no_network):
        with pytest.raises(WeightsError, match="no file or folder"):
            load_sam(source)

    def test_offline_without_a_cache_is_an_error(self, tmp_path, no_network):
        with pytest.raises(HubError, match="connection") as caught:
            load_sam("someone/some-sam", local_files_only=True, cache_dir=tmp_path)
        assert isinstance(caught.value.__cause__, OSError)

    def test_a_malformed_id_is_an_error(self):
        with pytest.raises(HubError, match="Check the id") as caught:
            load_sam("some--one/sam")
        assert isinstance(caught.value.__cause__, HFValidationError)

    def test_offline_uses_the_cache(self, sam_folder, tmp_path, no_network):
        repository = tmp_path / "models--someone--sam"
        shutil.copytree(sam_folder, repository / "snapshots" / COMMIT)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        sam = load_sam("someone/sam", local_files_only=True, cache_dir=tmp_path)
        assert equal(sam.state_dict(), load_sam(sam_folder).state_dict())
        assert sam.config._commit_hash == COMMIT

    def test_one_commit_is_downloaded_and_recorded(self, sam_folder, tmp_path, monkeypatch):
        commit = shutil.copytree(sam_folder, tmp_path / COMMIT)
        request = {}

        def download(repo_id, **options):
            request.update(options, repo_id=repo_id)
            return str(commit)

        monkeypatch.setattr(hub, "snapshot_download", download)
        sam = load_sam("someone/sam", revision="v1", token="secret", cache_dir="cache", force_download=True)
        assert sam.config._commit_hash == COMMIT
        assert not any(pattern.endswith((".bin", "*")) for pattern in request.pop("allow_patterns"))
        assert request == {
            "repo_id": "someone/sam",
            "revision": "v1",
            "token": "secret",
            "cache_dir": "cache",
            "force_download": True,
        }
