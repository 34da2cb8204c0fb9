"""Segment Anything: loading, resizing, encoding and LoRA."""
