"""Trains a small autoencoder on random features, in any number of processes, and saves its weights."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.base import Schedule
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.global_batch import gather, synchronize_batch_norm
from bc_sam.training.engine.loop import TrainingStep, train
from bc_sam.training.steps.losses import autoencoder_loss, segmentation_loss


class Step(TrainingStep):
    """The loss of stage 2, and a Dice over the global batch as in stage 1."""

    name = "Test"

    def __init__(self, module, dataset):
        self.module, self.dataset = module, dataset

    def loss(self, model, batch, epoch):
        maps, targets, domains = batch
        latents, cells = model(maps)
        overlap = segmentation_loss(gather(cells[:, 0]), gather((targets[:, 0] > 0.5).double()))
        return autoencoder_loss(cells, targets, gather(latents), gather(domains)) + overlap


def main(folder):
    random = torch.Generator().manual_seed(0)
    data = TensorDataset(
        torch.randn(24, 8, 6, 6, generator=random).double(),
        torch.rand(24, 3, 128, 128, generator=random).double(),
        torch.arange(24) % 3,
    )
    model = new_autoencoder(
        8, 4, (4,) * 7, seed=0
    ).double()  # double precision, so that rounding does not hide differences
    synchronize_batch_norm(model)
    arguments = replace(TrainingArguments(), mixed_precision="no")
    accelerator, _ = start_accelerator(arguments, Path(folder))
    schedule = Schedule(2, 8, 1e-3, 0.05, warmup_steps=2, max_grad_norm=1.0)
    history = train(Step(model, data), schedule, accelerator, seed=0)
    if accelerator.is_main_process:
        Path(folder).mkdir(exist_ok=True)
        losses = torch.tensor([record["loss"] for record in history])
        save_file({**model.state_dict(), "losses": losses}, Path(folder) / f"{accelerator.num_processes}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
