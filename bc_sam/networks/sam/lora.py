"""LoRA on q and v of every block of the image encoder, in PEFT's format (BC-SAM, section 2.1).

SAM computes q, k and v with one linear layer d -> 3 d. A LoRA of rank r on q and another on v are therefore equivalent
to one LoRA of rank 2 r on that layer, whose first r inner dimensions are for q and the last r for v:

    A (2 r, d) = [A_q; A_v]        B (3 d, 2 r) = [[B_q, 0], [0, 0], [0, B_v]]

The zeros, which include all entries for k, must stay zero in training; `constrain_to_q_and_v` enforces this.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_base_model_state_dict,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import SamModel

from bc_sam.errors import UntrustedFileError, WeightsError
from bc_sam.networks.sam.encoding import MaskTokens, freeze_unused
from bc_sam.networks.sam.lora_config import qkv_lora, read_qkv_lora
from bc_sam.networks.sam.weights import build_sam
from bc_sam.utils.torch_utils import frozen_copy, require_match, seeded

_ADAPTER = "default"  # PEFT's default adapter name
_CONFIG_FILE = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"

# Names of the tensors of the modules that are trained beside the LoRA, in SAM and in an adapter.
_TRAINED = ("mask_decoder.", "prompt_encoder.")
_PREFIX = "base_model.model."


def add_lora(
    sam: SamModel,
    rank: int = 4,
    *,
    mask_tokens: MaskTokens = "single",
    base: str | None = None,
    base_revision: str | None = None,
    seed: int = 0,
) -> PeftModel:
    """Adds a new LoRA; only the LoRA, the mask decoder and the no-mask prompt embedding stay trainable.

    A is initialized Kaiming-uniform and B with zeros, so the output is unchanged at first; the scale is 1.

    Args:
        sam: Any SAM. It is changed in place; use only the returned model afterwards.
        rank: Rank for q and for v.
        mask_tokens: Mask tokens in use, see `bc_sam.networks.sam.encoding.cell_logits`; the others are frozen.
        base: Hub id of `sam`, to record in the adapter's configuration.
        base_revision: Its revision on the Hub.
        seed: Seed of A; the global random state is not changed.

    Returns:
        The model, trainable, in the mode (train or eval) of `sam`.

    Example:
        >>> from bc_sam.networks.sam.loading import load_sam
        >>> model = add_lora(load_sam("tiny"), rank=4)
        >>> model.peft_config["default"].r  # 4 for q and 4 for v
        8
    """
    training = sam.training
    # PEFT scales by alpha / r; the paper does not scale.
    model = _wrap(sam, qkv_lora(2 * rank, 2 * rank, base, base_revision), seed)
    constrain_to_q_and_v(model)
    freeze_unused(model, mask_tokens=mask_tokens)
    return model.train(training)  # the wrapper and the new layers start in train mode


def constrain_to_q_and_v(model: PeftModel) -> None:
    """Keeps every entry of B outside the q and v blocks at zero by zeroing its gradient.

    Any optimizer then leaves them at exactly zero, even with weight decay. The hooks are attached to the parameters:
    call this again on a copy of the model. `add_lora` and `load_adapter` call it.

    Raises:
        WeightsError: If such an entry is not zero already.
    """
    for name, parameter in model.named_parameters():
        if ".lora_B." not in name:
            continue
        outside = _outside_q_and_v(parameter)
        if parameter.detach()[outside].any():
            raise WeightsError(
                f"{name} adapts k or mixes q and v, so this LoRA was not made by bc_sam. Use it for inference only."
            )
        # masked_fill instead of a product, which would turn infinite gradients of mixed precision into NaN.
        parameter.register_hook(lambda gradient, mask=outside: gradient.masked_fill(mask.to(gradient.device), 0))


def save_adapter(model: PeftModel, folder: str | Path, *, lora_only: bool = False) -> None:
    """Writes ``adapter_config.json`` and ``adapter_model.safetensors``, which `peft` can load on a plain SAM.

    Unlike `PeftModel.save_pretrained` it writes no model card, does not contact the Hub, and records a base only if
    one was given.

    Args:
        model: A model from `add_lora` or `load_adapter`, unwrapped from any training framework.
        folder: Output folder; created if missing.
        lora_only: Leave out the trained mask decoder and prompt encoder, which a `base_model` with them has.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    left_out = tuple(_PREFIX + name for name in _TRAINED) if lora_only else ()
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in state.items() if not name.startswith(left_out)
    }
    save_file(state, folder / _WEIGHTS_FILE, metadata={"format": "pt"})
    config: Any = copy.copy(model.peft_config[_ADAPTER])
    config.inference_mode = True
    if lora_only:
        config.modules_to_save = None  # or PEFT would miss them
    config.save_pretrained(str(folder))


def load_adapter(sam: SamModel, folder: str | Path) -> PeftModel:
    """Loads an adapter written by `save_adapter`, without network access; the tensors must match exactly.

    If it has only the LoRA, mask decoder and prompt encoder are those of `sam`.

    Args:
        sam: The SAM that the adapter was trained on, at the same image size. It is changed in place. For an adapter
            with two mask tokens, apply `bc_sam.networks.sam.resizing.keep_mask_tokens` first.
        folder: A local folder.

    Returns:
        The model, frozen and in eval mode; see `make_trainable` to continue training.

    Raises:
        WeightsError: If a file is missing or damaged, or does not match `sam`.
        ConfigError: If the configuration is not valid JSON.
        UntrustedFileError: If the weights exist only as a pickle, or the configuration sets options that `add_lora`
            does not.
    """
    folder = Path(folder)
    state = _read_adapter_weights(folder)
    if all(".lora_" in name for name in state):
        state |= {_PREFIX + name: value for name, value in sam.state_dict().items() if name.startswith(_TRAINED)}
    config = read_qkv_lora(folder / _CONFIG_FILE, sam.vision_encoder.config.hidden_size)
    config.inference_mode = True
    model = _wrap(sam, config, seed=0)
    require_match(get_peft_model_state_dict(model, save_embedding_layers=False), state, str(folder))
    set_peft_model_state_dict(model, state)
    return model.requires_grad_(False).eval()


def make_trainable(model: PeftModel, *, mask_tokens: MaskTokens = "single") -> None:
    """Makes a loaded adapter trainable, in place, under the constraints of `add_lora`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or ".modules_to_save." in name)
    constrain_to_q_and_v(model)
    freeze_unused(model, mask_tokens=mask_tokens)
    model.train()


def merge(model: PeftModel) -> SamModel:
    """Returns a plain `SamModel` for inference with the LoRA merged into its weights.

    Args:
        model: The model; not changed.

    Returns:
        An equivalent copy, frozen and in eval mode. It shares the tensors that the LoRA does not adapt with `model`.
    """
    adapted = (p for module in model.modules() if isinstance(module, LoraLayer) for p in module.parameters())
    merged = frozen_copy(model, own=adapted).merge_and_unload()
    merged.tie_weights()
    return merged


def base_model(model: PeftModel, *, with_trained: bool = False) -> SamModel:
    """Returns the plain `SamModel` that a saved adapter can be loaded on; it shares its tensors with `model`.

    Args:
        model: A model with an adapter.
        with_trained: Give it the trained mask decoder and prompt encoder, which the adapter then need not have.
    """
    config: Any = copy.deepcopy(model.get_base_model().config)
    state = get_base_model_state_dict(model)
    if with_trained:
        adapter = get_peft_model_state_dict(model, save_embedding_layers=False)
        state |= {name.removeprefix(_PREFIX): value for name, value in adapter.items() if ".lora_" not in name}
    return build_sam(config, state, "the base of the adapter")


def _wrap(sam: SamModel, config: LoraConfig, seed: int) -> PeftModel:
    """Wraps a SAM in a new adapter and checks that every block is adapted."""
    with seeded(seed), warnings.catch_warnings():
        # peft 0.21 still reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        model = PeftModel(sam, config, adapter_name=_ADAPTER)
    blocks, adapted = len(sam.vision_encoder.layers), len(model.targeted_module_names)
    if adapted != blocks:
        raise WeightsError(
            f"The LoRA adapts {adapted} layers of a SAM with {blocks} blocks. Pass a SAM with one qkv layer per block."
        )
    return model


def _outside_q_and_v(lora_b: Tensor) -> Tensor:
    """Returns a mask of the entries of B (3 d, 2 r) that must stay zero, all but B_q and B_v."""
    width, rank = lora_b.shape[0] // 3, lora_b.shape[1] // 2
    outside = torch.ones_like(lora_b, dtype=torch.bool)
    outside[:width, :rank] = False
    outside[2 * width :, rank:] = False
    return outside


def _read_adapter_weights(folder: Path) -> dict[str, Tensor]:
    for name in (_CONFIG_FILE, _WEIGHTS_FILE):
        if (folder / name).is_file():
            continue
        if (folder / "adapter_model.bin").is_file():
            raise UntrustedFileError(
                f"{folder} has its weights only as a pickle (.bin), which is not opened. If you trust it, load it "
                "with peft and save it again with save_pretrained."
            )
        raise WeightsError(f"There is no {name} in {folder}. Pass a local folder written by save_adapter.")
    try:
        return load_file(folder / _WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{folder / _WEIGHTS_FILE} cannot be read: {error}. Copy or download it again.") from error
