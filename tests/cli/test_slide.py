"""The laboratory is spoken of before any name, and a count has shares only if its names can be trusted."""

import csv

import numpy as np
import pytest
from example_evaluation import example_evaluation
from small_model import LATENT_DIM, small_model

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.cli.slide import predict_cells
from bc_sam.models.abstention import Decision
from bc_sam.models.prediction import Prediction

N = 30


@pytest.fixture(scope="module")
def model():
    made = small_model()
    latents = np.random.default_rng(0).normal(size=(60, LATENT_DIM)).astype(np.float32)
    made.reference = ReferenceLatents(latents, np.zeros(60, np.int64), np.zeros(60, np.int64))
    made.evaluation = example_evaluation()
    return made


def predictions(model, shift, labels=("monocyte",)):
    random = np.random.default_rng(1)
    for number in range(N):
        column = model.labels.index(labels[number % len(labels)])
        probabilities = np.eye(len(model.labels), dtype=np.float32)[column]
        latent = random.normal(size=LATENT_DIM).astype(np.float32) + np.float32(shift)
        yield Prediction.of(f"{number}.png", Decision(column), probabilities, model.labels, latent=latent)


@pytest.fixture
def said(model, capsys, tmp_path):
    def run(shift, labels=("monocyte",), *, kinds_chosen=False, count_all=False):
        options = {"given_by": "rf", "kinds_chosen": kinds_chosen, "count_all": count_all}
        names = [f"{number}.png" for number in range(N)]
        assert predict_cells(model, names, predictions(model, shift, labels), tmp_path / "cells.csv", **options) == []
        return capsys.readouterr().out, list(csv.DictReader((tmp_path / "cells.csv").open()))

    return run


def test_a_known_laboratory_is_counted_without_remark(said):
    out, rows = said(0)
    assert out.startswith("0.png: monocyte")
    assert "100.0%" in out
    assert {row["laboratory"] for row in rows} == {""}


def test_an_unknown_laboratory_is_said_first_and_has_no_shares(said):
    out, rows = said(9)
    assert out.startswith("The model does not know this laboratory: 30 cells look different")
    assert "--labels five-part" in out
    assert "Monocyte" in out
    assert "%" not in out.split("Differential count")[1]
    assert {row["laboratory"] for row in rows} == {"not known to the model"}


def test_shares_come_once_it_is_said_which_kinds_can_occur(said):
    out, _ = said(9, kinds_chosen=True)
    assert out.startswith("The model does not know this laboratory")
    assert "--labels five-part" not in out
    assert "100.0%" in out


def test_blasts_are_listed_and_not_counted(said):
    out, rows = said(0, ("monocyte", "myeloblast"))
    assert "Differential count of 15 white cells" in out
    assert "Perhaps blasts, not counted before a person has looked: 15 (1.png, 3.png," in out
    assert rows[1]["name"] == "myeloblast"


def test_without_a_counted_cell_there_is_no_table(said):
    out, _ = said(0, ("myeloblast",))
    assert "No differential count: no cell can be counted." in out
    assert "Intervals" not in out


def test_nucleated_red_cells_can_be_counted_among_all(said):
    assert "100.0 per 100" in said(0, ("monocyte", "erythroblast"))[0]
    assert "per 100" not in said(0, ("monocyte", "erythroblast"), count_all=True)[0]
