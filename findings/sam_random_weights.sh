#!/usr/bin/env bash
# transformers 5.23.0: a SAM made from its default config has random weights with a standard deviation of 1e-10, where other
# vision transformers have 0.02 (`initializer_range`). Whatever picture goes in, its features are zero but for 1e-20, so a SAM
# without a checkpoint neither tells pictures apart nor learns. No warning says so.
#
# Output seen:
#   initializer_range: SAM 1e-10, ViT 0.02
#   largest difference of the features of two pictures: default 1.4e-20, with 0.02 4.3e+00
#
# What to do: pass SamVisionConfig(initializer_range=0.02) for a model that starts without a checkpoint.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from transformers import SamVisionConfig, SamVisionModel, ViTConfig

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 128, "image_size": 64}


@torch.no_grad()
def difference(**options):
    torch.manual_seed(0)
    config = SamVisionConfig(**SIZES, window_size=4, global_attn_indexes=[0, 1], output_channels=32, **options)
    model = SamVisionModel(config).eval()
    one, other = (model(torch.randn(1, 3, 64, 64)).last_hidden_state for _ in range(2))
    return float((one - other).abs().max())


sam, vit = SamVisionConfig().initializer_range, ViTConfig().initializer_range
default, usual = difference(), difference(initializer_range=0.02)
print(f"initializer_range: SAM {sam}, ViT {vit}")
print(f"largest difference of the features of two pictures: default {default:.1e}, with 0.02 {usual:.1e}")
sys.exit(0 if sam == 1e-10 and default < 1e-12 and usual > 0.1 else "A new SAM has other random weights now.")
PYTHON
