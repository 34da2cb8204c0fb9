"""Two processes train like one with the same batches."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.training.engine.global_batch import SyncBatchNorm2d, synchronize_batch_norm

SCRIPT = Path(__file__).with_name("shared_training.py")


def launch(processes, folder):
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*launcher, str(SCRIPT), str(folder)], check=True, env=environment, capture_output=True)
    return load_file(folder / f"{processes}.safetensors")


def test_weights_statistics_and_losses_agree_to_within_rounding(tmp_path):
    alone, shared = launch(1, tmp_path), launch(2, tmp_path)
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-7, rtol=1e-7, msg=name)


def test_in_one_process_it_equals_ordinary_batch_norm():
    ordinary, shared = (CrossDomainAutoencoder(8, 4, (4,) * 7) for _ in range(2))
    shared.load_state_dict(ordinary.state_dict())
    synchronize_batch_norm(shared)
    kinds = {type(module) for module in shared.modules()}
    assert SyncBatchNorm2d in kinds
    assert nn.BatchNorm2d not in kinds
    maps = torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        for ours, theirs in zip(shared.train(mode)(maps), ordinary.train(mode)(maps), strict=True):
            assert torch.equal(ours, theirs)
    assert shared.state_dict().keys() == ordinary.state_dict().keys()


def test_synchronizing_keeps_tensors_and_their_order():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1, momentum=0.2)), nn.ReLU())
    parameters, names = list(model.parameters()), list(model.state_dict())
    synchronize_batch_norm(model)
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert (model[1][0].eps, model[1][0].momentum) == (0.1, 0.2)
