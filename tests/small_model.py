"""A complete model of a few hundred kilobytes with random weights."""

import numpy as np
import torch
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from bc_sam import BCSam, BCSamConfig
from bc_sam.classifiers.fitting import fit_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.labels import LABELS
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.lora import add_lora
from bc_sam.utils.torch_utils import seeded

IMAGE_SIZE = 64
LATENT_DIM = 6
DECODER_CHANNELS = (8, 8, 8, 8, 8, 8, 8)


def small_sam(seed=0):
    """A SAM with two narrow encoder blocks."""
    vision = SamVisionConfig(
        hidden_size=32,
        output_channels=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_dim=64,
        image_size=IMAGE_SIZE,
        window_size=IMAGE_SIZE // 16,
        global_attn_indexes=[0, 1],
        initializer_range=0.02,
    )
    vision.num_pos_feats, vision.scale = 16, 1
    decoder = SamMaskDecoderConfig(hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32)
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=IMAGE_SIZE, image_embedding_size=IMAGE_SIZE // 16)
    with seeded(seed):
        sam = SamModel(
            SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        ).eval()
    vision.scale = 16  # as after loading from a file
    return sam


def small_model(seed=0, *, classifiers=("logistic", "rf"), sam=None, **config):
    """A model whose classifiers are fitted on three classes.

    Args:
        seed: Seed of the weights.
        classifiers: Classifiers to fit.
        sam: Base model; required if it is on the Hub.
        **config: Further fields of the `BCSamConfig`.
    """
    random = np.random.default_rng(seed)
    sam = sam or small_sam(seed)
    labels = np.repeat([0, 3, 7], 20)
    latents = (random.standard_normal((60, LATENT_DIM)) + labels[:, None]).astype(np.float32)
    with seeded(seed):
        autoencoder = CrossDomainAutoencoder(feature_shape(sam)[0], LATENT_DIM, DECODER_CHANNELS).eval()
    adapter = add_lora(sam, base=config.get("base"), base_revision=config.get("base_revision"), seed=seed)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name and parameter.requires_grad:
            width, rank = parameter.shape[0] // 3, parameter.shape[1] // 2
            parameter.data[:width, :rank] = torch.tensor(random.standard_normal((width, rank)))
    return BCSam(
        BCSamConfig(
            domains=("north", "south"),
            default_classifier=classifiers[0],
            image_size=IMAGE_SIZE,
            feature_channels=feature_shape(sam)[0],
            latent_dim=LATENT_DIM,
            decoder_channels=DECODER_CHANNELS,
            **config,
        ),
        adapter.eval(),
        autoencoder,
        fit_classifiers(classifiers, latents, labels, len(LABELS)),
        reference=ReferenceLatents.sample(latents, labels, np.arange(60) % 2),
    )
