"""The command line: ``bc-sam COMMAND``. Each command is a thin layer over the package."""

# Importing a module registers its commands, in the order in which `bc-sam --help` lists them.
from bc_sam.cli import predict, status, count, serve, train, adapt, fit, resume, evaluate, compare, demo  # noqa: F401, I001
from bc_sam.cli import models, datasets  # noqa: F401
from bc_sam.cli.app import run as main

__all__ = ["main"]
