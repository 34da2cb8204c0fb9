"""Sources of any size as blocks of cells: folders, zips, WebDataset tars and parquet, on disk, the Hub or a store.

`plan.plan_blocks` divides a source into blocks, always in the same way; `reading.read_block` reads the cells of one on
any machine that sees the source.
"""
