"""What users hold: models that are loaded, asked, saved and shared."""
