"""Reads checkpoints of the original code: SAM from `segment_anything`, and LoRA from BC-SAM.

Tensor names are translated from ours to the original's, for every tensor that our model needs. Missing, unexpected or
misshapen tensors are therefore always detected, and errors use the names in the file.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from bc_sam.errors import UntrustedFileError, WeightsError
from bc_sam.networks.sam.lora import add_lora
from bc_sam.networks.sam.resizing import keep_mask_tokens
from bc_sam.networks.sam.weights import build_sam
from bc_sam.utils.torch_utils import require_match

#: Replacements, applied in order, from tensor names in transformers to those in segment_anything.
_TO_ORIGINAL = (
    (r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
     r"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.layers\.", r"vision_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", r"vision_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", r"vision_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", r"vision_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", r"vision_encoder.neck.3."),
    (r"^vision_encoder\.patch_embed\.projection\.", r"vision_encoder.patch_embed.proj."),
    (r"^vision_encoder\.", r"image_encoder."),
    (r"\.point_embed\.", r".point_embeddings."),
    (r"\.mask_embed\.conv1\.", r".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", r".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", r".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", r".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", r".mask_downscaling.6."),
    (r"\.upscale_conv1\.", r".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", r".output_upscaling.1."),
    (r"\.upscale_conv2\.", r".output_upscaling.3."),
    # Three-layer MLPs: hidden, first and last layer.
    (r"(_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.layers.1."),
    (r"(_mlps\.\d+|iou_prediction_head)\.proj_in\.", r"\1.layers.0."),
    (r"(_mlps\.\d+|iou_prediction_head)\.proj_out\.", r"\1.layers.2."),
    (r"\.layer_norm_final_attn\.", r".norm_final_attn."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
)  # fmt: skip


def read_torch_file(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict written by `torch.save` without executing any code in it.

    Args:
        path: The file. It is memory-mapped if its format allows.

    Returns:
        Tensors by name, on the CPU. The ``module.`` prefix of `DataParallel` is removed.

    Raises:
        UntrustedFileError: If opening it would execute code, as for a pickled model.
        WeightsError: If it is missing or damaged, or holds anything but named tensors.
    """
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UntrustedFileError(
            f"{path} holds more than tensors, and loading it could run arbitrary code. If you trust it and have the "
            "code that wrote it, convert it with torch.save(torch.load(old, weights_only=False).state_dict(), new)."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(f"{path} cannot be read as a torch file: {error} Copy or download it again.") from error
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(
            f"{path} holds {type(state).__name__}, not named tensors. Save the model's state_dict instead."
        )
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: {name!r} is of type {type(value).__name__}, not a tensor. Save only the state_dict."
            )
    parallel = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if parallel else name: tensor for name, tensor in state.items()}


def sam_from_original(state: Mapping[str, Tensor], *, source: str = "the checkpoint") -> SamModel:
    """Builds a `SamModel` from a `segment_anything` checkpoint at the checkpoint's image size.

    Width, depth, heads, windows and the number of mask tokens are inferred from the shapes.

    Args:
        state: Tensors by their original names, ``image_encoder.*``, ``prompt_encoder.*`` and ``mask_decoder.*``.
        source: Origin of the tensors, for error messages.

    Returns:
        The model in eval mode, float32; its tensors are copies.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of the wrong shape; the message uses the names in `state`.
    """
    config = _infer_config(state, source)
    with torch.device("meta"):
        expected = SamModel(config).state_dict()
    return build_sam(config, _translate(expected, state, source), source)


def adapter_from_original(
    state: Mapping[str, Tensor],
    sam: SamModel,
    *,
    base: str | None = None,
    base_revision: str | None = None,
    source: str = "the adapter",
) -> PeftModel:
    """Converts the original's stage 1 checkpoint (``epoch_85.pth``) into a PEFT model.

    Args:
        state: ``w_a_000`` (r, d), ``w_b_000`` (d, r) and so on, alternating q and v of each block; optionally also all
            of ``prompt_encoder.*`` and ``mask_decoder.*``, the latter with two mask tokens. Without them, `sam` keeps
            its own.
        sam: The SAM that the adapter was trained on, at the same image size; changed in place.
        base: Hub id of `sam`, to record in the adapter's configuration.
        base_revision: Its revision on the Hub.
        source: Origin of `state`, for error messages.

    Returns:
        The model, trainable, in eval mode; its mask tokens are ``"two"`` if `state` has a decoder, else ``"single"``.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of the wrong shape, or `sam` is not the base.
    """
    modules = {name: value for name, value in state.items() if name.startswith(("prompt_encoder.", "mask_decoder."))}
    lora = {name: value for name, value in state.items() if name not in modules}
    if modules:
        sam = _fit_decoder(sam, modules, source)
    fused = _fuse_lora(lora, len(sam.vision_encoder.layers), sam.vision_encoder.config.hidden_size, source)
    model = add_lora(
        sam,
        rank=lora["w_a_000"].shape[0],
        mask_tokens="two" if modules else "single",
        base=base,
        base_revision=base_revision,
    )
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    if modules:
        prefix = "base_model.model."
        saved = {name.removeprefix(prefix): value for name, value in expected.items() if ".lora_" not in name}
        translated = _translate(saved, modules, source)
        fused |= {prefix + name: tensor for name, tensor in translated.items()}
    set_peft_model_state_dict(model, expected | fused)
    return model


def _translate(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Returns a float32 copy of each expected tensor, looked up in `state` by its original name."""
    names = {name: _original_name(name) for name in expected}
    require_match({names[name]: tensor for name, tensor in expected.items()}, state, source)
    return {name: state[names[name]].to(torch.float32, copy=True) for name in expected}


def _original_name(name: str) -> str:
    for pattern, replacement in _TO_ORIGINAL:
        name = re.sub(pattern, replacement, name)
    return name


def _infer_config(state: Mapping[str, Tensor], source: str) -> SamConfig:
    """Infers the sizes of a SAM from the shapes of its tensors."""
    try:
        _, grid, _, width = state["image_encoder.pos_embed"].shape
        patch_size = state["image_encoder.patch_embed.proj.weight"].shape[-1]
        spans = _attention_spans(state)
        head_dim = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
        mlp_dim = state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0]
        mask_tokens = state["mask_decoder.mask_tokens.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"{source} is not a segment_anything checkpoint: {error} is missing or has the wrong shape. "
            "Pass a file such as sam_vit_b_01ec64.pth."
        ) from error
    windows = {span for span in spans if span != grid}
    if len(windows) > 1:
        raise WeightsError(f"{source} has several window sizes, {sorted(windows)}. SAM checkpoints have one.")
    image_size = grid * patch_size
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=width,
            num_hidden_layers=len(spans),
            num_attention_heads=width // head_dim,
            mlp_dim=mlp_dim,
            image_size=image_size,
            patch_size=patch_size,
            window_size=windows.pop() if windows else grid,
            global_attn_indexes=[index for index, span in enumerate(spans) if span == grid],
        ),
        prompt_encoder_config=SamPromptEncoderConfig(image_size=image_size, patch_size=patch_size),
        mask_decoder_config=SamMaskDecoderConfig(
            num_multimask_outputs=mask_tokens - 1,
            layer_norm_eps=1e-5,  # as in the original; checkpoints converted by transformers have 1e-6
        ),
    )


def _attention_spans(state: Mapping[str, Tensor]) -> list[int]:
    """Returns the side of each block's attention window in patches."""
    blocks = (re.match(r"image_encoder\.blocks\.(\d+)\.", name) for name in state)
    depth = 1 + max(int(block[1]) for block in blocks if block)
    return [(len(state[f"image_encoder.blocks.{index}.attn.rel_pos_h"]) + 1) // 2 for index in range(depth)]


def _fuse_lora(state: Mapping[str, Tensor], blocks: int, width: int, source: str) -> dict[str, Tensor]:
    """Combines the original's LoRA tensors for q and v into one LoRA on the fused qkv layer, with PEFT's names."""
    rank = next((len(tensor) for name, tensor in state.items() if name.startswith("w_a_")), 0)
    with torch.device("meta"):
        expected = {f"w_a_{index:03d}": torch.empty(rank, width) for index in range(2 * blocks)}
        expected |= {f"w_b_{index:03d}": torch.empty(width, rank) for index in range(2 * blocks)}
    require_match(expected, state, source)
    fused = {}
    for block in range(blocks):
        a_q, a_v, b_q, b_v = (state[f"w_{m}_{2 * block + i:03d}"].float() for m in "ab" for i in (0, 1))
        prefix = f"base_model.model.vision_encoder.layers.{block}.attn.qkv"
        fused[f"{prefix}.lora_A.weight"] = torch.cat([a_q, a_v])
        # The middle block, for k, has d rows and no columns.
        fused[f"{prefix}.lora_B.weight"] = torch.block_diag(b_q, b_q.new_empty(width, 0), b_v)
    return fused


def _fit_decoder(sam: SamModel, modules: Mapping[str, Tensor], source: str) -> SamModel:
    """Reduces the decoder to the original's two mask tokens and checks that `sam` is the base of the checkpoint."""
    tokens = modules.get("mask_decoder.mask_tokens.weight")
    if tokens is not None and len(tokens) != 2:
        raise WeightsError(
            f"{source} has {len(tokens)} mask tokens. Pass a checkpoint trained with two, background and cell."
        )
    # The random matrix of the position encoding is never trained and therefore identifies the base.
    ours = sam.shared_image_embedding.positional_embedding.detach().cpu()
    theirs = modules.get(_original_name("shared_image_embedding.positional_embedding"))
    if theirs is not None and not torch.allclose(theirs, ours):
        raise WeightsError(f"{source} was trained on another SAM. Pass the base that it was trained on.")
    return keep_mask_tokens(sam, 2)
