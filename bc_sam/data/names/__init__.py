"""The names that laboratories and public data sets give their classes, and the canonical label of each."""
