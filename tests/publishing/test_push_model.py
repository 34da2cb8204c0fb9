"""The script pushes a model and verifies that the uploaded model gives the same predictions."""

import pytest
from huggingface_hub import HfApi
from small_model import small_model

from bc_sam import BCSam


@pytest.fixture
def folder(tmp_path):
    return small_model().save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("option", [(), ("--create-pr",), ("--revision", "trial")])
def test_the_uploaded_model_is_downloaded_and_compared(hub, repo_id, run_script, folder, capsys, option):
    run_script("push_model", folder, repo_id, "--private", *option)
    assert "differ by at most" in capsys.readouterr().out
    assert HfApi().model_info(repo_id).private


def test_a_corrupted_upload_is_an_error(hub, repo_id, run_script, folder, monkeypatch):
    load = BCSam.from_pretrained

    def corrupted(source, **options):
        model = load(source, **options)
        if str(source) == repo_id:
            model.classifiers["logistic"].estimator[-1].coef_[:] = 5.0
        return model

    monkeypatch.setattr(BCSam, "from_pretrained", corrupted)
    with pytest.raises(SystemExit, match="Take it down"):
        run_script("push_model", folder, repo_id)
