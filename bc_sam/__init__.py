"""Names single blood cells across laboratories."""
