"""Rendering of blood cells: shapes, then concentrations of stained matter, then the image of a laboratory."""
