"""Data sets in shards, such as parquet or WebDataset tars, decoded for training one shard after the other.

`shards` opens them without a download, `cache` decodes each shard once, and `joined` makes one store of all cells.
"""
