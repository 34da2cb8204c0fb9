"""The one kind of LoRA that `bc_sam` makes, and the one that it reads.

PEFT has options that import a module by name, build other layers, or match the names of layers against a pattern of
the file's own. None is ever passed on: a stranger's ``adapter_config.json`` is compared with what is written here, and
then only its rank, its scale and the name of its base are used.
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
# What may differ from file to file. `r` and `lora_alpha` have limits.
_FREE = {"r", "lora_alpha", "base_model_name_or_path", "revision", "inference_mode", "peft_version"}


def qkv_lora(r: int, lora_alpha: float, base: str | None, base_revision: str | None) -> LoraConfig:
    """Returns the configuration of a LoRA on the fused q, k and v, with prompt encoder and mask decoder trained too.

    Example:
        >>> qkv_lora(8, 8, "facebook/sam-vit-base", None).modules_to_save
        ['mask_decoder', 'prompt_encoder']
    """
    return LoraConfig(
        r=r,
        lora_alpha=lora_alpha,  # type: ignore[arg-type]  # PEFT divides by r, whole or not
        target_modules=_QKV,
        modules_to_save=["mask_decoder", "prompt_encoder"],
        base_model_name_or_path=base,
        revision=base_revision,
    )


def read_qkv_lora(path: Path, width: int) -> LoraConfig:
    """Reads the configuration of such a LoRA.

    Args:
        path: An ``adapter_config.json``.
        width: Channels of the encoder. A rank of more than twice as many, q and v, would be of no use.

    Raises:
        ConfigError: If the file is no JSON.
        WeightsError: If it is no configuration of a LoRA, or its rank or scale are out of range.
        UntrustedFileError: If it asks PEFT for anything else; each such option is named.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise WeightsError(f"{path} is no LoRA's configuration. Download or save the adapter again.")
    _refuse_other_options(found, path)
    rank, alpha = found.get("r"), found.get("lora_alpha")
    if type(rank) is not int or not 0 < rank <= 2 * width:
        raise WeightsError(f"{path}: r must be 1 to {2 * width} for this SAM, not {short(rank)}.")
    if not isinstance(alpha, int | float) or not 0 < alpha <= _MAX_ALPHA:
        raise WeightsError(f"{path}: lora_alpha must be above 0 and at most {_MAX_ALPHA}, not {short(alpha)}.")
    base, revision = (_name(found.get(key)) for key in ("base_model_name_or_path", "revision"))
    return qkv_lora(rank, alpha, base, revision)


def _refuse_other_options(found: dict[str, Any], path: Path) -> None:
    """Compares all options but the free ones; one that this version of PEFT does not have must be off."""
    ours = json.loads(json.dumps(qkv_lora(8, 8, None, None).to_dict()))
    other = [
        f"{short(key)} is {short(value)}"
        for key, value in found.items()
        if key not in _FREE and (value != ours[key] if key in ours else value)
    ]
    if other:
        raise UntrustedFileError(
            f"{path} is of another adapter than bc_sam makes: {', '.join(other[:8])}. Do not use it, or, where you "
            "trust it, use it with plain peft."
        )


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None
