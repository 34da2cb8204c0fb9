"""Segment Anything underneath BC-SAM: loading at any size, encoding, LoRA, and the original's checkpoints."""
