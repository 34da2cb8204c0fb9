"""The processes that ``accelerate launch`` or ``torchrun`` started."""

from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def processes() -> PartialState:
    """Joins the processes started by ``accelerate launch`` or ``torchrun``; otherwise there is only one."""
    use_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    # Some wait long for others: while the main process fits the classifiers, or until the last block is written.
    return PartialState(cpu=use_cpu, timeout=timedelta(hours=12))
