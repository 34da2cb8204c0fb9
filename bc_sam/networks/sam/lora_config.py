"""The one LoRA configuration that `bc_sam` writes and reads.

PEFT has options that import modules by name, build other layers, or match layer names against a pattern from the file.
None is ever passed on: an untrusted ``adapter_config.json`` must equal the configuration below, except for its rank,
its scale and the name of its base model, which are used. It may lack the trained modules, whose weights are then the
base's.
"""

import json
from pathlib import Path
from reprlib import repr as short
from typing import Any

from peft import LoraConfig

from bc_sam.errors import UntrustedFileError, WeightsError
from bc_sam.utils.json_config import read_json

_QKV = r"vision_encoder\.layers\.\d+\.attn\.qkv"
_MAX_ALPHA = 10**6
# Options that may differ between files. `r` and `lora_alpha` are range-checked.
_FREE = {"r", "lora_alpha", "base_model_name_or_path", "revision", "inference_mode", "peft_version"}
_LORA_ONLY = ("modules_to_save", None)


def qkv_lora(r: int, lora_alpha: float, base: str | None, base_revision: str | None) -> LoraConfig:
    """Returns the configuration of a LoRA on the fused qkv layer, which also trains prompt encoder and mask decoder.

    Example:
        >>> qkv_lora(8, 8, "facebook/sam-vit-base", None).modules_to_save
        ['mask_decoder', 'prompt_encoder']
    """
    return LoraConfig(
        r=r,
        lora_alpha=lora_alpha,  # type: ignore[arg-type]  # PEFT accepts floats too
        target_modules=_QKV,
        modules_to_save=["mask_decoder", "prompt_encoder"],
        base_model_name_or_path=base,
        revision=base_revision,
    )


def read_qkv_lora(path: Path, width: int) -> LoraConfig:
    """Reads the configuration of such a LoRA.

    Args:
        path: An ``adapter_config.json``.
        width: Channels of the encoder. The rank covers q and v, so at most twice as many are useful.

    Raises:
        ConfigError: If the file is not valid JSON.
        WeightsError: If it is not a LoRA configuration, or its rank or scale is out of range.
        UntrustedFileError: If it sets any other PEFT option; the message lists them.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is not a LoRA configuration. Download or save the adapter again.")
    _refuse_other_options(content, path)
    rank, alpha = content.get("r"), content.get("lora_alpha")
    if type(rank) is not int or not 0 < rank <= 2 * width:
        raise WeightsError(f"{path}: r must be 1 to {2 * width} for this SAM, not {short(rank)}.")
    if not isinstance(alpha, int | float) or not 0 < alpha <= _MAX_ALPHA:
        raise WeightsError(f"{path}: lora_alpha must be above 0 and at most {_MAX_ALPHA}, not {short(alpha)}.")
    base, revision = (_name(content.get(key)) for key in ("base_model_name_or_path", "revision"))
    return qkv_lora(rank, alpha, base, revision)


def _refuse_other_options(content: dict[str, Any], path: Path) -> None:
    """Compares all options but the free ones; options unknown to this version of PEFT must be falsy."""
    ours = json.loads(json.dumps(qkv_lora(8, 8, None, None).to_dict()))
    other = [
        f"{short(key)} is {short(value)}"
        for key, value in content.items()
        if key not in _FREE and (value != ours[key] if key in ours else value) and (key, value) != _LORA_ONLY
    ]
    if other:
        raise UntrustedFileError(
            f"{path} has options that bc_sam does not support: {', '.join(other[:8])}. Do not use this adapter, or, "
            "if you trust it, load it with peft."
        )


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None
