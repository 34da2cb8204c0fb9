"""Our models as the Auto classes and pipelines of transformers know them; registered by ``import bc_sam``.

These modules are imported in the middle of transformers' own imports, so they import the models only when one is
loaded.
"""
