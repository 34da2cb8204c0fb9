"""Killed, or with a full disk, at each file operation: the next try gives the same bytes and leaves nothing else."""

import shutil

import numpy as np
import pytest
import torch
from faults import contents, count_operations, file_size_limit, fill_disk, killed_at, watched
from small_model import small_model
from torch import nn

from bc_sam.data import load_rendered, save_parquet
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.data.store import store_cells
from bc_sam.errors import BCSamError
from bc_sam.models.auto import load_model
from bc_sam.models.folder import MODEL_FILES, check_files, load_config
from bc_sam.training.engine.checkpoints import Checkpoints, Progress, remove_checkpoints
from bc_sam.utils.atomic import save_array, written_aside
from bc_sam.utils.model_source import resolve_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """An old and a new model, loaded from folders, as each of their files is then written back unchanged."""
    folder = tmp_path_factory.mktemp("models")
    written = [small_model(seed, classifiers=("logistic",)).save_pretrained(folder / str(seed)) for seed in (0, 1)]
    return [load_model(path) for path in written]


@pytest.fixture(scope="module")
def drawn():
    return load_rendered("munich", cells_per_class=1, seed=0, size=32, labels=("basophil", "monocyte"))


def failure(action, folder, number):
    """What the command line says of an action for which the disk is full at one operation."""
    with watched(folder, number, fill_disk):
        try:
            action()
        except (BCSamError, OSError) as error:
            return str(error)
    return "No space left, which is of no consequence: what could not be removed is removed later."


def assert_loads(folder):
    found = resolve_folder(folder, MODEL_FILES)
    check_files(found, load_config(found))


@pytest.fixture
def actions(drawn):
    """Each action writes into a folder, and may find there what an earlier try left."""

    def train(folder):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.AdamW(model.parameters())
        checkpoints = Checkpoints(folder / "stage", "key")
        for step in range(checkpoints.load(model, optimizer)[0].step, 3):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            checkpoints.save(Progress("key", step=step + 1), model, optimizer)
        save_array(model.weight.detach().numpy(), folder / "weights.npy")
        if checkpoints.folder.exists():
            remove_checkpoints(checkpoints.folder)

    def save_state(folder):
        save_array(np.arange(9), folder / "before.npy")
        with written_aside(folder / "cells.csv") as part:
            part.write_text("file,label\n")

    def save_cells(folder):
        target = folder / "parquet"
        target.mkdir(exist_ok=True)  # an empty folder is accepted, a finished one is not
        if not list(target.iterdir()):
            save_parquet(drawn, target)

    def render(folder):
        if not (folder / "drawn").exists():
            write_rendered(folder / "drawn", ["munich"], cells_per_class=1, size=32, labels=["basophil"])

    return {
        "training": train,
        "state": save_state,
        "cells": lambda folder: store_cells([drawn], folder / "cells", 32),
        "parquet": save_cells,
        "drawn": render,
    }


@pytest.fixture(params=["training", "state", "cells", "parquet", "drawn"])
def action(request, actions):
    return actions[request.param]


@pytest.fixture
def try_on(action, tmp_path):
    """Prepares an empty folder, and returns it with the action on it."""

    def prepare(name):
        folder = tmp_path / name
        folder.mkdir()
        return folder, lambda: action(folder)

    return prepare


@pytest.fixture
def expected(try_on):
    """The content of a folder after an undisturbed action, and the number of its operations."""
    folder, run = try_on("undisturbed")
    return count_operations(run, folder), contents(folder)


def test_killed_at_each_operation(try_on, expected):
    n_operations, undisturbed = expected
    assert n_operations >= 3
    for number in range(n_operations):
        folder, run = try_on(f"killed-{number}")
        assert killed_at(run, folder, number)
        run()
        assert contents(folder) == undisturbed, number


def test_a_full_disk_at_each_operation(try_on, expected):
    n_operations, undisturbed = expected
    for number in range(n_operations):
        folder, run = try_on(f"full-{number}")
        assert "No space left" in failure(run, folder, number)
        run()
        assert contents(folder) == undisturbed, number


def test_a_disk_that_fills_up_within_each_file(try_on, expected):
    _, undisturbed = expected
    sizes = {len(content) for content in undisturbed.values() if content}
    for size in sorted(sizes):
        folder, run = try_on(f"limit-{size}")
        with file_size_limit(size - 1), pytest.raises((BCSamError, OSError), match="File too large"):
            run()
        run()
        assert contents(folder) == undisturbed, size


class TestReplacing:
    """A model in the place of another."""

    @pytest.fixture
    def place(self, models, tmp_path):
        saved = models[0].save_pretrained(tmp_path / "saved" / "model")

        def prepare(name):
            return shutil.copytree(saved, tmp_path / name / "model")

        return prepare

    @pytest.fixture
    def whole(self, models, place):
        """The content of the old and the new model."""
        old = place("whole")
        contents_of_old = contents(old)
        models[1].save_pretrained(old)
        return contents_of_old, contents(old)

    def test_killed_at_any_moment_there_is_the_old_or_the_new_model(self, models, place, whole):
        counted = place("counted")
        n_operations = count_operations(lambda: models[1].save_pretrained(counted), counted.parent)
        seen = []
        for number in range(n_operations):
            folder = place(f"killed-{number}")
            if not killed_at(lambda folder=folder: models[1].save_pretrained(folder), folder.parent, number):
                break
            assert_loads(folder)
            assert contents(folder) in whole, number
            seen.append(whole.index(contents(folder)))
            if number % 4:
                continue
            models[1].save_pretrained(folder)
            assert contents(folder.parent) == {"model": None} | {f"model/{k}": v for k, v in whole[1].items()}
        assert seen == sorted(seen)
        assert set(seen) == {0, 1}

    def test_a_full_disk_at_any_operation_leaves_one_of_them(self, models, place, whole):
        counted = place("counted")
        n_operations = count_operations(lambda: models[1].save_pretrained(counted), counted.parent)
        for number in range(0, n_operations, 3):
            folder = place(f"full-{number}")
            failed = failure(lambda folder=folder: models[1].save_pretrained(folder), folder.parent, number)
            assert "No space left" in failed
            assert_loads(folder)
            assert contents(folder) in whole, number
            shutil.rmtree(folder.parent)

    def test_a_full_disk_changes_nothing_and_is_one_sentence(self, models, place, whole):
        for size in sorted({len(content) for content in whole[1].values() if content}):
            folder = place(f"limit-{size}")
            message = r"could not be saved.*Nothing was changed"
            with file_size_limit(size - 1), pytest.raises(BCSamError, match=message):
                models[1].save_pretrained(folder)
            assert contents(folder) == whole[0]
            assert [path.name for path in folder.parent.iterdir()] == ["model"]
            shutil.rmtree(folder.parent)
