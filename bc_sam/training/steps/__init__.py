"""The training steps: module, data and loss of each stage."""
