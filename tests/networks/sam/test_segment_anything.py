import contextlib
import pickle
from pathlib import Path

import parity_weights
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import SamModel

from bc_sam.errors import UntrustedFileError, WeightsError
from bc_sam.models.conversion import autoencoder_from_original
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.sam.encoding import cell_logits, encode, image_embeddings
from bc_sam.networks.sam.lora import load_adapter, merge, save_adapter
from bc_sam.networks.sam.resizing import keep_mask_tokens, resize_sam
from bc_sam.networks.sam.segment_anything import adapter_from_original, read_torch_file, sam_from_original

# peft 0.21 reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="session")
def two_token_decoder(original_state):
    """Prompt encoder and mask decoder as saved by the original after stage 1: changed values, two mask tokens."""
    parts = ("prompt_encoder.", "mask_decoder.")
    modules = {name: 0.9 * tensor for name, tensor in original_state.items() if name.startswith(parts)}
    modules[GAUSSIAN] = original_state[GAUSSIAN]  # a buffer, never trained
    dropped = tuple(f"mask_decoder.output_hypernetworks_mlps.{index}." for index in (2, 3))
    modules = {name: tensor for name, tensor in modules.items() if not name.startswith(dropped)}
    for name in ("mask_tokens.weight", "iou_prediction_head.layers.2.weight", "iou_prediction_head.layers.2.bias"):
        modules[f"mask_decoder.{name}"] = modules[f"mask_decoder.{name}"][:2]
    return modules


@pytest.fixture(scope="session")
def original_autoencoder():
    return parity_weights.state("autoencoder_original_keys.json")


def difference(model, expected, kind):
    """The largest difference of features and embeddings from the original's."""
    with torch.no_grad():
        features = encode(model, expected["preprocessed"])
        embeddings = image_embeddings(model, features)
    return max(
        (features - expected[f"{kind}_feature"]).abs().max().item(),
        (embeddings - expected[f"{kind}_embedding"]).abs().max().item(),
    )


class TestReadTorchFile:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_reads_a_state_dict_in_either_format(self, tmp_path, zipped):
        state = {"a.weight": torch.rand(3, 2), "b": torch.tensor(7)}
        torch.save(state, tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
        read = read_torch_file(tmp_path / "state.pth")
        assert read.keys() == state.keys()
        assert all(torch.equal(read[name], state[name]) for name in state)

    def test_removes_the_prefix_of_data_parallel(self, tmp_path):
        torch.save({"module.a": torch.zeros(1), "module.b": torch.zeros(1)}, tmp_path / "state.pth")
        assert set(read_torch_file(tmp_path / "state.pth")) == {"a", "b"}

    @pytest.mark.parametrize(
        "write", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data, protocol=2))]
    )
    def test_executes_no_code(self, tmp_path, write):
        file, trace = tmp_path / "evil.pth", tmp_path / "trace"
        write({"a": Touch(trace)}, file)
        with pytest.raises(UntrustedFileError, match=r"evil\.pth"):
            read_torch_file(file)
        assert not trace.exists()

    def test_the_file_of_that_test_would_execute_code(self, tmp_path):
        torch.save({"a": Touch(tmp_path / "trace")}, tmp_path / "evil.pth")
        torch.load(tmp_path / "evil.pth", weights_only=False)
        assert (tmp_path / "trace").exists()

    def test_refuses_a_pickled_model_and_explains_how_to_convert_it(self, tmp_path):
        torch.save(CrossDomainAutoencoder(), tmp_path / "AE-SAM010.mdl")
        with pytest.raises(UntrustedFileError, match=r"AE-SAM010\.mdl.*state_dict"):
            read_torch_file(tmp_path / "AE-SAM010.mdl")

    @pytest.mark.parametrize(
        "content", [[torch.zeros(1)], {}, {"epoch": 3}, {"state_dict": {"a": torch.zeros(1)}}], ids=repr
    )
    def test_refuses_anything_but_named_tensors(self, tmp_path, content):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=r"other\.pth"):
            read_torch_file(tmp_path / "other.pth")

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    @settings(max_examples=60)
    @given(zipped=st.booleans(), data=st.data())
    def test_a_damaged_file_raises_no_other_error(self, tmp_path_factory, zipped, data):
        file = tmp_path_factory.mktemp("damaged") / "cell.pth"
        torch.save({"a": torch.rand(3), "b": torch.rand(2)}, file, _use_new_zipfile_serialization=zipped)
        content = bytearray(file.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(1, 300))] = data.draw(st.binary(max_size=8))
        file.write_bytes(content)
        with contextlib.suppress(WeightsError, UntrustedFileError):
            read_torch_file(file)  # succeeds if the damage is between the tensors

    def test_an_error_names_a_truncated_file(self, tmp_path):
        torch.save({"a": torch.rand(1000)}, tmp_path / "cut.pth")
        (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:2000])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            read_torch_file(tmp_path / "cut.pth")

    def test_an_error_names_a_missing_file(self, tmp_path):
        with pytest.raises(WeightsError, match=r"none\.pth"):
            read_torch_file(tmp_path / "none.pth")


class TestSam:
    def test_infers_the_sizes_from_the_shapes(self, sam_1024):
        vision = sam_1024.config.vision_config
        assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (96, 12, 3)
        assert (vision.image_size, vision.patch_size, vision.window_size, vision.mlp_dim) == (1024, 16, 14, 384)
        assert vision.global_attn_indexes == [2, 5, 8, 11]

    def test_keeps_every_value(self, sam_1024, original_state):
        total = sum(tensor.double().sum() for tensor in original_state.values())
        converted = sum(parameter.double().sum() for parameter in sam_1024.parameters())
        assert converted.item() == pytest.approx(total.item())

    def test_features_match_the_original(self, sam, expected):
        assert difference(sam, expected, "base") <= 5e-5

    def test_copies_its_tensors(self, original_state):
        name = "image_encoder.neck.0.weight"
        state = {**original_state, name: original_state[name].clone()}
        sam = sam_from_original(state)
        before = sam.vision_encoder.neck.conv1.weight.clone()
        state[name].zero_()
        assert torch.equal(sam.vision_encoder.neck.conv1.weight, before)

    @pytest.mark.parametrize(
        "name",
        [
            GAUSSIAN,
            "image_encoder.blocks.7.attn.qkv.bias",
            "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight",
            "mask_decoder.mask_tokens.weight",
            "image_encoder.pos_embed",
        ],
    )
    def test_names_a_missing_tensor_as_in_the_file(self, original_state, name):
        state = {key: tensor for key, tensor in original_state.items() if key != name}
        with pytest.raises(WeightsError, match=name):
            sam_from_original(state)

    def test_names_misshapen_and_unexpected_tensors(self, original_state):
        state = {**original_state, "image_encoder.neck.0.weight": torch.zeros(1), "optimizer.step": torch.zeros(1)}
        with pytest.raises(WeightsError) as caught:
            sam_from_original(state)
        assert "image_encoder.neck.0.weight (1,) instead of (256, 96, 1, 1)" in str(caught.value)
        assert "unexpected: optimizer.step" in str(caught.value)

    def test_refuses_another_model(self):
        with pytest.raises(WeightsError, match="segment_anything"):
            sam_from_original({"conv1.weight": torch.zeros(1)})


class TestAdapter:
    def test_features_match_the_original(self, original_lora, sam, expected):
        assert difference(adapter_from_original(original_lora, sam), expected, "lora") <= 5e-5

    def test_plain_peft_loads_its_folder_on_a_plain_sam(self, original_lora, sam, expected, tmp_path):
        sam.save_pretrained(tmp_path / "sam")
        save_adapter(adapter_from_original(original_lora, sam), tmp_path / "adapter")
        plain = PeftModel.from_pretrained(SamModel.from_pretrained(tmp_path / "sam"), tmp_path / "adapter")
        assert difference(plain, expected, "lora") <= 5e-5

    def test_features_match_the_original_after_merging(self, original_lora, sam, expected):
        assert difference(merge(adapter_from_original(original_lora, sam)), expected, "lora") <= 5e-5

    def test_includes_its_own_decoder(
        self, original_state, original_lora, two_token_decoder, sam_1024, sam, expected, tmp_path
    ):
        save_adapter(adapter_from_original(original_lora | two_token_decoder, sam), tmp_path)
        model = load_adapter(keep_mask_tokens(resize_sam(sam_1024, 224), 2), tmp_path)
        assert difference(model, expected, "lora") <= 5e-5
        encoder = {name: tensor for name, tensor in original_state.items() if name.startswith("image_encoder.")}
        reference = resize_sam(sam_from_original(encoder | two_token_decoder), 224)
        with torch.no_grad():
            logits = cell_logits(model, expected["lora_feature"], mask_tokens="two")
            assert torch.equal(logits, cell_logits(reference, expected["lora_feature"], mask_tokens="two"))

    @pytest.mark.parametrize("name", ["w_a_000", "w_b_017", "mask_decoder.iou_token.weight", GAUSSIAN])
    def test_names_a_missing_tensor(self, original_lora, two_token_decoder, sam, name):
        state = original_lora | two_token_decoder
        del state[name]
        with pytest.raises(WeightsError, match=name):
            adapter_from_original(state, sam)

    @pytest.mark.parametrize("name", ["w_a_003", "w_b_003", "w_b_024"])
    def test_names_a_tensor_that_does_not_fit(self, original_lora, sam, name):
        with pytest.raises(WeightsError, match=name):
            adapter_from_original(original_lora | {name: torch.zeros(5, 5)}, sam)

    def test_refuses_another_base(self, original_lora, two_token_decoder, sam):
        state = original_lora | two_token_decoder | {GAUSSIAN: torch.zeros(2, 128)}
        with pytest.raises(WeightsError, match="another SAM"):
            adapter_from_original(state, sam)

    def test_refuses_a_decoder_of_several_classes(self, original_lora, two_token_decoder, sam):
        state = original_lora | two_token_decoder | {"mask_decoder.mask_tokens.weight": torch.zeros(4, 256)}
        with pytest.raises(WeightsError, match="4 mask tokens"):
            adapter_from_original(state, sam)


class TestAutoencoder:
    def test_loads_without_renaming(self, original_autoencoder):
        CrossDomainAutoencoder().load_state_dict(autoencoder_from_original(original_autoencoder), strict=True)

    def test_names_missing_unexpected_and_misshapen_tensors(self, original_autoencoder):
        changed = {
            **original_autoencoder,
            "encoder.0.weight": torch.zeros(256, 1024, 1, 1),
            "head.weight": torch.zeros(1),
        }
        del changed["decoder.21.bias"]
        with pytest.raises(WeightsError) as caught:
            autoencoder_from_original(changed)
        for part in ("missing: decoder.21.bias", "unexpected: head.weight", "encoder.0.weight (256, 1024, 1, 1)"):
            assert part in str(caught.value)
