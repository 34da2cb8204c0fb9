"""Small complete models of the comparison networks with random weights."""

from dataclasses import replace

from small_model import IMAGE_SIZE, small_sam

from bc_sam.config.model import BCSamConfig
from bc_sam.config.presets import network_arguments
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.cell_network import new_network
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.utils.torch_utils import seeded

CLASSES = (0, 3, 7)

#: Every method in full, with each ablation, and with SAM as its backbone.
VARIANTS = {
    "resnet": ("resnet", {}),
    "slca": ("slca", {}),
    "slca without attention": ("slca", {"ablation": "attention"}),
    "shape-aware": ("shape-aware", {}),
    "shape-aware without attention": ("shape-aware", {"ablation": "attention"}),
    "shape-aware without mask": ("shape-aware", {"ablation": "mask"}),
    "shape-aware on sam": ("shape-aware", {"image_backbone": "sam"}),
}


def small_arguments(variant, **more):
    method, settings = VARIANTS[variant]
    return method, replace(network_arguments(method, "tiny"), input_size=48, **(settings | more))


def small_network(variant, seed=0, **more):
    """Returns the config and the network for SAM features of 32 channels."""
    method, arguments = small_arguments(variant, **more)
    config, network = new_network(method, arguments, CLASSES, 32, seed=seed)
    with seeded(seed):  # SLCA is initialized to zero and would have no effect
        for name, parameter in network.named_parameters():
            if "attention.excite" in name:
                parameter.data.normal_()
    return config, network.eval()


def small_comparison(variant="slca", seed=0, *, sam=None, device="cpu", **config):
    """A complete model; pass `sam` if the base model is on the Hub."""
    network_config, network = small_network(variant, seed)
    sam = (sam or small_sam(seed)) if network_config.needs_sam else None
    assert sam is None or feature_shape(sam)[0] == 32
    return ComparisonModel(
        BCSamConfig(
            domains=("north", "south"),
            default_classifier=variant,
            image_size=IMAGE_SIZE,
            latent_dim=network.head.in_features,
            network=network_config,
            **config,
        ),
        network,
        sam,
        device=device,
    )
