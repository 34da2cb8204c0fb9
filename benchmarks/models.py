"""Complete models with random weights, which are as fast as trained ones."""

import numpy as np
import torch
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionSdpaAttention

from bc_sam import BCSam, BCSamConfig
from bc_sam.config.base import PAPER_DECODER_CHANNELS, Precision
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.loading import load_sam
from bc_sam.networks.sam.lora import add_lora
from bc_sam.networks.throughput import vit_b


def random_sam(base: str) -> SamModel:
    """Returns the SAM ``"vit-b"`` or ``"tiny"`` at 224 px."""
    return vit_b() if base == "vit-b" else load_sam("tiny")


def random_model(base: str, precision: Precision) -> BCSam:
    """Returns a model without classifiers and with a non-zero LoRA."""
    sam = random_sam(base)
    config = BCSamConfig(feature_channels=feature_shape(sam)[0])
    adapter = add_lora(sam)
    for name, parameter in adapter.named_parameters():
        if ".lora_B." in name:
            width, rank = parameter.shape[0] // 3, parameter.shape[1] // 2
            parameter.data[:width, :rank] = 0.01
    autoencoder = new_autoencoder(config.feature_channels, 50, PAPER_DECODER_CHANNELS, seed=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return BCSam(config, adapter.eval(), autoencoder, {}, device=device, precision=precision)


def with_library_attention(sam: torch.nn.Module, *, eager: bool) -> torch.nn.Module:
    """Switches the encoder of a SAM, with or without LoRA, to transformers' attention, in place; tensors are kept."""
    implementation = SamVisionAttention if eager else SamVisionSdpaAttention
    encoder = sam.vision_encoder
    for block in encoder.layers:
        with torch.device("meta"):
            attention = implementation(encoder.config, block.window_size)
        for name, part in (*block.attn.named_children(), *block.attn.named_parameters(recurse=False)):
            setattr(attention, name, part)
        block.attn = attention.train(block.attn.training)
    return sam


def random_pixels(n: int, seed: int = 0) -> np.ndarray:
    """Returns random images (n, 224, 224, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), np.uint8)
