"""The training loop: checkpoints, sampling, distributed training."""
