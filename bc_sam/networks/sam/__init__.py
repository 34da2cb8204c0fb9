"""Segment Anything: loading, resizing, encoding, LoRA."""
