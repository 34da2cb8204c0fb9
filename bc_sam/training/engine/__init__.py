"""The training loop, checkpoints, sampling, processes."""
