"""The script pushes a model and makes sure that what arrived says the same."""

import pytest
from huggingface_hub import HfApi
from small_model import small_model

from bc_sam import BCSam


@pytest.fixture
def folder(tmp_path):
    return small_model().save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("option", [(), ("--create-pr",), ("--revision", "trial")])
def test_what_arrived_is_loaded_and_compared(hub, repo_id, run_script, folder, capsys, option):
    run_script("push_model", folder, repo_id, "--private", *option)
    assert "differ by at most" in capsys.readouterr().out
    assert HfApi().model_info(repo_id).private


def test_a_model_that_did_not_arrive_whole_is_a_failure(hub, repo_id, run_script, folder, monkeypatch):
    load = BCSam.from_pretrained

    def spoiled(source, **options):
        model = load(source, **options)
        if str(source) == repo_id:
            model.classifiers["logistic"].estimator[-1].coef_[:] = 5.0
        return model

    monkeypatch.setattr(BCSam, "from_pretrained", spoiled)
    with pytest.raises(SystemExit, match="Take it down"):
        run_script("push_model", folder, repo_id)
