"""Configuration dataclasses, presets and class labels."""
