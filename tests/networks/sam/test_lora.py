import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from small_model import small_sam
from transformers import SamModel

from bc_sam.errors import ConfigError, UntrustedFileError, WeightsError
from bc_sam.networks.sam.encoding import cell_logits, encode, image_embeddings
from bc_sam.networks.sam.lora import (
    add_lora,
    base_model,
    constrain_to_q_and_v,
    load_adapter,
    make_trainable,
    merge,
    save_adapter,
)
from bc_sam.networks.sam.resizing import keep_mask_tokens, resize_sam

# peft 0.21 reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

WIDTH, RANK = 96, 4


def lora_b(model):
    """B (3 d, 2 r) of every block."""
    return [layer.attn.qkv.lora_B["default"].weight for layer in model.vision_encoder.layers]


def train(model, images, steps=3):
    """Trains for a few steps with momentum and weight decay."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        cell_logits(model, encode(model, images)).square().mean().backward()
        optimizer.step()
    return model.eval()


def outputs(model, images):
    with torch.no_grad():
        features = encode(model, images)
        embeddings = image_embeddings(model, features)
        return features, embeddings, cell_logits(model, features)


def agree(first, second, tolerance=0.0):
    return all((a - b).abs().max() <= tolerance for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="session")
def images():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def trained(sam_1024, images):
    """A LoRA after three steps; tests must not modify it."""
    return train(add_lora(copy.deepcopy(resize_sam(sam_1024, 224)), RANK), images)


@pytest.fixture(scope="session")
def folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(trained, folder)
    return folder


class TestNew:
    @pytest.mark.parametrize("rank", [1, 4])
    def test_has_the_papers_number_of_parameters_in_every_block(self, sam, rank):
        model = add_lora(sam, rank)
        names = [name for name, _ in model.named_parameters() if ".lora_A." in name]
        assert len(names) == len(sam.vision_encoder.layers) == 12
        assert lora_b(model)[0].shape == (3 * WIDTH, 2 * rank)
        assert model.peft_config["default"].r == model.peft_config["default"].lora_alpha == 2 * rank

    def test_is_determined_by_its_seed_and_leaves_the_global_generator_alone(self, sam):
        before = torch.get_rng_state()
        first, same, other = (
            add_lora(copy.deepcopy(sam), seed=seed).vision_encoder.layers[0].attn.qkv.lora_A["default"].weight
            for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(first, same)
        assert not torch.equal(first, other)

    def test_only_lora_decoder_and_null_prompt_are_trainable(self, sam, images):
        model = add_lora(sam)
        cell_logits(model, encode(model, images)).square().mean().backward()
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trainable == {name for name, p in model.named_parameters() if p.grad is not None}
        assert all(".lora_" in name or "modules_to_save" in name for name in trainable)
        assert {name for name in trainable if "prompt_encoder" in name} == {
            "base_model.model.prompt_encoder.modules_to_save.default.no_mask_embed.weight"
        }

    def test_refuses_a_sam_with_a_block_that_cannot_be_adapted(self, sam):
        attention = sam.vision_encoder.layers[3].attn
        attention.another_name = attention.qkv
        del attention.qkv
        with pytest.raises(WeightsError, match="11 layers of a SAM with 12 blocks"):
            add_lora(sam)


class TestConstraint:
    def check(self, model):
        for weight in lora_b(model):
            q, k, v = weight.detach().split(WIDTH)
            assert q[:, :RANK].all()
            assert v[:, RANK:].all()
            assert not q[:, RANK:].any()
            assert not k.any()
            assert not v[:, :RANK].any()

    def test_training_changes_only_q_and_v(self, trained):
        self.check(trained)

    def test_holds_after_reloading(self, sam, folder, images):
        reloaded = load_adapter(sam, folder)
        make_trainable(reloaded)
        self.check(train(reloaded, images))

    def test_k_would_be_adapted_without_it(self, sam, images):
        config = LoraConfig(r=8, lora_alpha=8, target_modules=r".*vision_encoder.*\.qkv")
        plain = train(get_peft_model(sam, config), images)
        assert all(weight[WIDTH : 2 * WIDTH].any() for weight in lora_b(plain))
        with pytest.raises(WeightsError, match="adapts k"):
            constrain_to_q_and_v(plain)

    def test_infinite_gradients_do_not_become_nan(self, sam):
        weight = lora_b(add_lora(sam))[0]
        (weight * float("inf")).sum().backward()
        assert not weight.grad[WIDTH : 2 * WIDTH].any()

    def test_merging_leaves_k_unchanged(self, sam, trained):
        merged = merge(trained)
        for before, after in zip(sam.vision_encoder.layers, merged.vision_encoder.layers, strict=True):
            changed = (before.attn.qkv.weight != after.attn.qkv.weight).split(WIDTH)
            assert [part.any().item() for part in changed] == [True, False, True]


class TestFolder:
    def test_has_two_files_and_records_only_a_given_base(self, sam, tmp_path, no_network):
        sam.name_or_path = sam.config._name_or_path = "/somewhere/private"
        save_adapter(add_lora(copy.deepcopy(sam)), tmp_path / "a")
        save_adapter(add_lora(sam, base="facebook/sam-vit-base", base_revision="abc"), tmp_path / "b")
        names = {file.name for file in (tmp_path / "a").iterdir()}
        assert names == {"adapter_config.json", "adapter_model.safetensors"}
        unnamed, named = (json.loads((tmp_path / x / "adapter_config.json").read_text()) for x in "ab")
        assert (unnamed["base_model_name_or_path"], unnamed["revision"]) == (None, None)
        assert (named["base_model_name_or_path"], named["revision"]) == ("facebook/sam-vit-base", "abc")

    def test_round_trips(self, sam, trained, folder, images, no_network):
        model = load_adapter(sam, folder)
        assert agree(outputs(model, images), outputs(trained, images), tolerance=1e-4)
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())

    def test_loads_with_plain_peft(self, sam, trained, folder, images):
        model = PeftModel.from_pretrained(sam, folder).eval()
        assert agree(outputs(model, images), outputs(trained, images), tolerance=1e-4)

    def test_the_same_parameters_are_trainable_after_reloading(self, sam, trained, folder):
        reloaded = load_adapter(sam, folder)
        make_trainable(reloaded)
        assert {n for n, p in reloaded.named_parameters() if p.requires_grad} == {
            n for n, p in trained.named_parameters() if p.requires_grad
        }

    def test_loading_leaves_the_global_generator_alone(self, sam, folder):
        before = torch.get_rng_state()
        load_adapter(sam, folder)
        assert torch.equal(torch.get_rng_state(), before)


class TestBadFolder:
    @pytest.fixture
    def weights(self, folder, tmp_path):
        (tmp_path / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
        return load_file(folder / "adapter_model.safetensors")

    @pytest.mark.parametrize("part", ["lora_B", "mask_decoder", "prompt_encoder"])
    def test_a_missing_tensor_is_named(self, sam, weights, tmp_path, part):
        name = next(name for name in weights if part in name)
        del weights[name]
        save_file(weights, tmp_path / "adapter_model.safetensors")
        with pytest.raises(WeightsError, match=f"missing: {name}"):
            load_adapter(sam, tmp_path)

    def test_an_unexpected_tensor_is_named(self, sam, weights, tmp_path):
        save_file(weights | {"base_model.model.extra": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
        with pytest.raises(WeightsError, match=r"unexpected: base_model\.model\.extra"):
            load_adapter(sam, tmp_path)

    def test_a_decoder_of_another_size_is_named(self, sam, folder):
        with pytest.raises(WeightsError, match=r"mask_tokens\.weight \(4, 256\) instead of \(2, 256\)"):
            load_adapter(keep_mask_tokens(sam, 2), folder)

    def test_a_pickle_is_not_opened(self, sam, weights, tmp_path):
        torch.save(weights, tmp_path / "adapter_model.bin")
        with pytest.raises(UntrustedFileError, match=r"\.bin"):
            load_adapter(sam, tmp_path)

    def test_a_hub_id_is_not_looked_up(self, sam, no_network):
        with pytest.raises(WeightsError, match=r"adapter_config\.json"):
            load_adapter(sam, "someone/adapter")

    def test_a_damaged_file_is_named(self, sam, weights, tmp_path):
        (tmp_path / "adapter_model.safetensors").write_bytes(b"not tensors")
        with pytest.raises(WeightsError, match=r"adapter_model\.safetensors"):
            load_adapter(sam, tmp_path)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("peft_type", "IA3"),
            ("megatron_core", "os"),
            ("megatron_config", {"num_layers": 1}),
            ("target_modules", "(a+)+$"),
            ("target_modules", ["qkv"]),
            ("modules_to_save", ["vision_encoder"]),
            ("layer_replication", [[0, 12], [0, 12]]),
            ("auto_mapping", {"base_model_class": "Popen", "parent_library": "subprocess"}),
            ("init_lora_weights", "gaussian"),
            ("use_dora", True),
            ("use_rslora", True),
            ("rank_pattern", {".*": 10**6}),
            ("lora_bias", True),
            ("lora_dropout", 0.5),
            ("runtime_config", {"ephemeral_gpu_offload": True}),
            ("an_option_of_a_later_peft", "on"),
        ],
    )
    def test_an_option_that_add_lora_does_not_set_is_refused_by_name(
        self, sam, folder, weights, tmp_path, option, value
    ):
        self.write(folder, tmp_path, weights, {option: value})
        with pytest.raises(UntrustedFileError, match=rf"adapter_config\.json .*'{option}' is "):
            load_adapter(sam, tmp_path)

    @pytest.mark.parametrize(
        "option", [{"an_option_of_a_later_peft": None}, {"another": False}, {"peft_version": "9"}]
    )
    def test_an_unknown_option_that_is_off_is_accepted(self, sam, folder, weights, tmp_path, option):
        self.write(folder, tmp_path, weights, option)
        assert load_adapter(sam, tmp_path).peft_config["default"].r == 2 * RANK

    @pytest.mark.parametrize("rank", [0, -1, 10**12, 2 * WIDTH + 1, True, "8", 8.0, None])
    def test_an_impossible_rank_is_refused_before_anything_is_built(self, sam, folder, weights, tmp_path, rank):
        self.write(folder, tmp_path, weights, {"r": rank})
        with pytest.raises(WeightsError, match=rf"adapter_config\.json: r must be 1 to {2 * WIDTH} "):
            load_adapter(sam, tmp_path)

    @pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), 10**400, "8", None])
    def test_an_impossible_scale_is_refused(self, sam, folder, weights, tmp_path, alpha):
        self.write(folder, tmp_path, weights, {"lora_alpha": alpha})
        with pytest.raises(WeightsError, match=r"adapter_config\.json: lora_alpha must be above 0"):
            load_adapter(sam, tmp_path)

    @pytest.mark.parametrize("content", ["", "{", "[" * 10**5, "\xff"])
    def test_a_configuration_that_is_not_json_is_named(self, sam, weights, tmp_path, content):
        save_file(weights, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(content, "latin-1")
        with pytest.raises(ConfigError, match=r"adapter_config\.json cannot be read as JSON"):
            load_adapter(sam, tmp_path)

    @pytest.mark.parametrize("content", ["[]", "null", "3", '"r"'])
    def test_a_configuration_that_is_not_an_object_is_named(self, sam, weights, tmp_path, content):
        save_file(weights, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(content)
        with pytest.raises(WeightsError, match=r"adapter_config\.json is not a LoRA configuration"):
            load_adapter(sam, tmp_path)

    def write(self, folder, target, weights, changes):
        """Writes a copy of an adapter with changed options."""
        settings = json.loads((folder / "adapter_config.json").read_text()) | changes
        (target / "adapter_config.json").write_text(json.dumps(settings))
        save_file(weights, target / "adapter_model.safetensors")


class TestMerge:
    def test_gives_an_equivalent_plain_frozen_model(self, trained, images):
        before = outputs(trained, images)
        merged = merge(trained)
        assert type(merged) is SamModel
        assert not any(p.requires_grad for p in merged.parameters())
        assert agree(outputs(merged, images), before, tolerance=1e-4)
        assert agree(outputs(trained, images), before)

    def test_copies_only_the_tensors_that_the_lora_changes(self, trained):
        merged = dict(merge(trained).named_parameters())
        original = {p.data_ptr() for p in trained.parameters()}
        assert {name for name, p in merged.items() if p.data_ptr() not in original} == {
            f"vision_encoder.layers.{block}.attn.qkv.{part}"
            for block in range(len(trained.base_model.model.vision_encoder.layers))
            for part in ("weight", "bias")
        }

    def test_the_result_saves_and_loads_like_any_sam(self, trained, images, tmp_path):
        merged = merge(trained)
        merged.save_pretrained(tmp_path)
        assert agree(outputs(SamModel.from_pretrained(tmp_path), images), outputs(merged, images), tolerance=1e-4)


class TestBaseModel:
    def test_is_the_model_that_the_lora_was_added_to(self, sam, trained):
        base = base_model(trained)
        assert type(base) is SamModel
        before, after = sam.state_dict(), base.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_the_model_can_be_restored_from_it_and_the_adapter(self, trained, folder, images, tmp_path):
        base_model(trained).save_pretrained(tmp_path)
        model = load_adapter(SamModel.from_pretrained(tmp_path), folder)
        assert agree(outputs(model, images), outputs(trained, images), tolerance=1e-4)

    def test_with_the_trained_modules_the_adapter_is_the_lora_alone(self, trained, images, tmp_path):
        base_model(trained, with_trained=True).save_pretrained(tmp_path / "base")
        save_adapter(trained, tmp_path / "adapter", lora_only=True)
        assert all(".lora_" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
        ours = load_adapter(SamModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
        plain = PeftModel.from_pretrained(SamModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
        for model in (ours, plain.eval()):
            assert agree(outputs(model, images), outputs(trained, images), tolerance=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_a_new_lora_keeps_the_mode(training):
    model = add_lora(small_sam().train(training))
    assert {module.training for module in model.modules()} == {training}
