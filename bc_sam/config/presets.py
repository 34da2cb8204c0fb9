"""Presets of training arguments."""

from dataclasses import replace

from bc_sam.config.arguments import AutoencoderArguments, SegmentationArguments, TrainingArguments
from bc_sam.config.network import Method, NetworkArguments
from bc_sam.errors import ConfigError


def network_arguments(method: Method, preset: str) -> NetworkArguments:
    """Returns the network arguments of a method.

    Args:
        method: Any method. BC-SAM gets those of the plain ResNet, which it ignores.
        preset: ``"paper"``; ``"tiny"`` or ``"pretrained"`` for small untrained backbones that two CPU cores train in
            minutes.

    Example:
        >>> network_arguments("shape-aware", "paper").optimizer
        'sgd'
    """
    if preset in ("tiny", "pretrained"):
        tiny = NetworkArguments(
            image_backbone="tiny:resnet",
            mask_backbone="tiny:resnet",
            reduction=4,
            learn_masks=method == "slca",
            input_size=64,
            epochs=10,
            warmup_epochs=1,
            batch_size=16,
            learning_rate=2e-3,
            colour_jitter=0.2,
        )
        return replace(tiny, label_smoothing=0.1) if method == "shape-aware" else tiny
    if method == "slca":
        return NetworkArguments(image_backbone="microsoft/resnet-152")
    if method == "shape-aware":
        return NetworkArguments(
            image_backbone="microsoft/swin-base-patch4-window7-224",
            epochs=300,
            batch_size=40,
            optimizer="sgd",
            learning_rate=1e-3,
            weight_decay=2e-5,
            label_smoothing=0.1,
            colour_jitter=0.4,
        )
    return NetworkArguments()


def preset(name: str, method: Method = "bc-sam") -> TrainingArguments:
    """Returns the training arguments of a preset.

    Args:
        name: ``"paper"`` for the published settings on ``facebook/sam-vit-base``; ``"tiny"`` for a SAM with 5.7
            million encoder parameters that two CPU cores can train from scratch; ``"pretrained"`` to fine-tune such a
            SAM that has learned from cells, as that of ``bc-sam-tiny``.
        method: ``"bc-sam"`` or a comparison network.

    Raises:
        ConfigError: If the preset is unknown.

    Example:
        >>> preset("paper").segmentation.epochs
        150
    """
    paper = TrainingArguments()
    presets = {
        "paper": paper,
        "tiny": replace(
            paper,
            base="tiny",
            segmentation=SegmentationArguments(
                train_encoder=True, epochs=24, warmup_epochs=2, batch_size=16, learning_rate=5e-4, colour_jitter=0.2
            ),
            # A hundredth of the paper's steps, so batches are small and the learning rate is high. A smaller MMD
            # weight keeps the latents from collapsing to zero before the decoder has learned to use them.
            autoencoder=AutoencoderArguments(
                decoder_channels=(75, 100, 128, 100, 64, 48, 32),
                epochs=4,
                warmup_steps=50,
                batch_size=16,
                learning_rate=2e-3,
                mmd_weight=0.5,
            ),
        ),
    }
    presets["pretrained"] = _pretrained(presets["tiny"])
    if name not in presets:
        raise ConfigError(f"Unknown preset {name!r}. Choose one of {', '.join(sorted(presets))}.")
    arguments = replace(presets[name], method=method)
    return arguments if method == "bc-sam" else replace(arguments, network=network_arguments(method, name))


def _pretrained(tiny: TrainingArguments) -> TrainingArguments:
    """Returns the arguments that bc-sam-tiny was trained with, on a base pretrained on cells."""
    return replace(
        tiny,
        base="bc-sam-tiny",
        image_size=112,
        views=5000,
        average_turns=True,
        segmentation=replace(tiny.segmentation, train_encoder=False, epochs=12, learning_rate=1e-4),
        # Reconstruction alone favours what is large; the features and the labels keep what tells the classes apart.
        autoencoder=replace(
            tiny.autoencoder, feature_weight=1.0, pixel_weight=10.0, label_weight=1.0, batch_size=32, epochs=2
        ),
        classifiers=replace(tiny.classifiers, default="logistic"),  # best calibrated
    )
