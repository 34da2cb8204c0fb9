"""Small checkpoints in the formats of the original BC-SAM, with the weights of the parity data."""

import json
from pathlib import Path

import torch
from parity_weights import value

PARITY = Path(__file__).parent / "parity"


def original_state(name, scale=1.0):
    shapes = json.loads((PARITY / name).read_text())
    return {key: torch.tensor(scale * value(key, tuple(shape)), dtype=torch.float32) for key, shape in shapes.items()}


def write_checkpoints(folder, sam_name="sam_vit.pth"):
    """Writes the three files of the original to a folder; the decoder has two mask tokens."""
    sam = original_state("sam_tiny_original_keys.json")
    torch.save(sam, folder / sam_name)
    adapter = original_state("lora_original_keys.json", scale=0.3)
    for key, tensor in sam.items():
        if key.startswith(("prompt_encoder.", "mask_decoder.")):
            tokens = ("mask_tokens.weight", "iou_prediction_head.layers.2.weight", "iou_prediction_head.layers.2.bias")
            if not any(f"output_hypernetworks_mlps.{i}." in key for i in (2, 3)):
                adapter[key] = tensor[:2].clone() if key.endswith(tokens) else tensor
    torch.save(adapter, folder / "epoch_85.pth")
    autoencoder = original_state("autoencoder_original_keys.json")
    # The parity encoder is 96 wide, its autoencoder is for 768.
    autoencoder["encoder.0.weight"] = autoencoder["encoder.0.weight"][:, :96].clone()
    torch.save(autoencoder, folder / "autoencoder.pth")
    return folder
