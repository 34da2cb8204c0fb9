"""Finds the white cells of fields: nuclei by their stain, outlines by the model's own masks."""

from bc_sam.models.fields.field_finder import find_cell_at, find_cells, search_field
from bc_sam.models.fields.profile import profile_fields
from bc_sam.models.fields.search import Observe, Search
from bc_sam.models.fields.tile_finder import SQUARE_UM

__all__ = ["SQUARE_UM", "Observe", "Search", "find_cell_at", "find_cells", "profile_fields", "search_field"]
