"""Trains a small autoencoder on made-up features, in as many processes as it is launched in, and saves its weights."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from bc_sam.config.arguments import TrainingArguments
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.distributed import gather, share_batch_norm
from bc_sam.training.engine.loop import Schedule, fit
from bc_sam.training.engine.sampling import shuffled, stage_batches
from bc_sam.training.steps.losses import autoencoder_loss, segmentation_loss


def loss(model, batch):
    """That of stage 2, and a Dice over the batch as in stage 1."""
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
    model = new_autoencoder(8, 4, (4,) * 7, seed=0).double()  # in double precision nothing hides behind rounding
    share_batch_norm(model)
    arguments = replace(TrainingArguments(), mixed_precision="no")
    accelerator, _ = start_accelerator(arguments, Path(folder))
    batches = stage_batches(shuffled(24), 24, 8, accelerator, seed=0)
    history = fit(model, data, batches, loss, Schedule(2, 2, 1e-3, 0.05, max_grad_norm=1.0), accelerator, "Test")
    if accelerator.is_main_process:
        Path(folder).mkdir(exist_ok=True)
        losses = torch.tensor([record["loss"] for record in history])
        save_file({**model.state_dict(), "losses": losses}, Path(folder) / f"{accelerator.num_processes}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
