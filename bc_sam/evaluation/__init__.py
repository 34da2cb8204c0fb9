"""Figures: how they are computed, stored, tabulated and drawn."""
