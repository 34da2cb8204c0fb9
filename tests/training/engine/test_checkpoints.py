"""Checkpoints are atomic, and contain only trained tensors and no executable content."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bc_sam.errors import BCSamError
from bc_sam.training.engine import checkpoints as checkpoints_module
from bc_sam.training.engine.checkpoints import Checkpoints, Progress


@pytest.fixture
def model():
    torch.manual_seed(0)
    frozen, trained = nn.Linear(3, 4).requires_grad_(False), nn.Linear(4, 2)
    return nn.Sequential(frozen, nn.BatchNorm1d(4), trained)


@pytest.fixture
def optimizer(model):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    return optimizer


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "stage", "key")


def test_weights_optimizer_and_progress_are_restored(model, optimizer, checkpoints):
    best = {"2.weight": torch.ones(2, 4)}
    progress = Progress(
        "key", step=7, losses=[0.1 + 0.2], history=[{"epoch": 1, "loss": 0.5}], best=0.25, best_epoch=1
    )
    checkpoints.save(progress, model, optimizer, best)
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    fresh = torch.optim.AdamW([p for p in other.parameters() if p.requires_grad])
    loaded, loaded_best = checkpoints.load(other, fresh)
    assert repr(loaded) == repr(progress)  # also 1 and not 1.0, which the results of a resumed run would repeat
    assert torch.equal(loaded_best["2.weight"], best["2.weight"])
    for name in ("1.weight", "1.running_var", "2.weight", "2.bias"):
        assert torch.equal(other.state_dict()[name], model.state_dict()[name])
    for ours, theirs in zip(
        fresh.state_dict()["state"].values(), optimizer.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_it_contains_only_trained_tensors_and_no_pickle(model, optimizer, checkpoints):
    checkpoints.save(Progress("key", step=1), model, optimizer)
    (folder,) = checkpoints.folder.iterdir()
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    assert not any(name.startswith("0.") for name in load_file(folder / "weights.safetensors"))


def test_only_the_newest_is_kept(model, optimizer, checkpoints):
    for step in (1, 2, 10):
        checkpoints.save(Progress("key", step=step), model, optimizer)
    assert [folder.name for folder in checkpoints.folder.iterdir()] == ["step-00000010"]


def test_a_full_disk_is_reported_and_keeps_the_previous_checkpoint(model, optimizer, checkpoints, monkeypatch):
    checkpoints.save(Progress("key", step=1), model, optimizer)

    def full_disk(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints_module, "save_file", full_disk)
    with pytest.raises(BCSamError, match=r"No space left.*step-00000001 is intact.*bc-sam resume"):
        checkpoints.save(Progress("key", step=2), model, optimizer)
    assert [folder.name for folder in checkpoints.folder.iterdir()] == ["step-00000001"]
    assert checkpoints.load(model, optimizer)[0].step == 1


def test_incomplete_checkpoints_are_ignored(model, optimizer, checkpoints):
    checkpoints.save(Progress("key", step=1), model, optimizer)
    (checkpoints.folder / "unfinished").mkdir()
    (checkpoints.folder / "unfinished" / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.load(model, optimizer)[0].step == 1
    checkpoints.save(Progress("key", step=2), model, optimizer)
    assert [folder.name for folder in checkpoints.folder.iterdir()] == ["step-00000002"]


def test_what_a_kill_left_is_removed_when_the_last_checkpoint_is_loaded(model, optimizer, checkpoints):
    checkpoints.save(Progress("key", step=2, finished=True), model, optimizer)
    for name in ("unfinished", "step-00000001"):
        (checkpoints.folder / name).mkdir()
        (checkpoints.folder / name / "weights.safetensors").write_bytes(b"half")
    Checkpoints(checkpoints.folder, "key", writes=False).load(model, optimizer)
    assert len(list(checkpoints.folder.iterdir())) == 3
    checkpoints.load(model, optimizer)
    assert [folder.name for folder in checkpoints.folder.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_reported(model, optimizer, checkpoints, file):
    checkpoints.save(Progress("key", step=1), model, optimizer)
    (checkpoints.folder / "step-00000001" / file).write_bytes(b"broken")
    with pytest.raises(BCSamError, match=r"step-00000001 cannot be read.*Delete it"):
        checkpoints.load(model, optimizer)


def test_checkpoints_of_another_training_are_not_resumed(model, optimizer, checkpoints):
    checkpoints.save(Progress("key", step=5), model, optimizer)
    before = copy.deepcopy(model.state_dict())
    loaded, _ = Checkpoints(checkpoints.folder, "another key").load(model, optimizer)
    assert loaded.step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_process_that_only_reads_writes_nothing(model, optimizer, tmp_path):
    Checkpoints(tmp_path / "stage", "key", writes=False).save(Progress("key", step=1), model, optimizer)
    assert not (tmp_path / "stage").exists()


def test_a_checkpoint_of_another_training_at_the_same_step_is_replaced(model, optimizer, checkpoints):
    checkpoints.save(Progress("key", step=5), model, optimizer)
    other = Checkpoints(checkpoints.folder, "another key")
    other.load(model, optimizer)
    other.save(Progress("another key", step=5), model, optimizer)
    assert other.load(model, optimizer)[0].step == 5
    assert checkpoints.load(model, optimizer)[0].step == 0


def test_a_later_checkpoint_of_another_training_does_not_hide_ones_own(model, optimizer, checkpoints, tmp_path):
    """As after a kill between writing a checkpoint and removing the others."""
    checkpoints.save(Progress("key", step=5), model, optimizer)
    other = Checkpoints(tmp_path / "other", "another key")
    other.save(Progress("another key", step=9), model, optimizer)
    (tmp_path / "other" / "step-00000009").rename(checkpoints.folder / "step-00000009")
    assert checkpoints.load(model, optimizer)[0].step == 5
