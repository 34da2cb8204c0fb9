"""The Space says what it needs, can be pushed, and names a cell through its page."""

import importlib.util
import sys
from pathlib import Path

import gradio
import pytest
import yaml
from gradio_client import Client, handle_file
from huggingface_hub import HfApi, RepoCard
from PIL import Image
from small_model import IMAGE_SIZE, small_model

import bc_sam

SPACE = Path(__file__).parents[2] / "space"


def test_its_front_matter_names_the_gradio_that_is_tested_here():
    data = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert (data["sdk"], data["sdk_version"]) == ("gradio", gradio.__version__)
    assert (SPACE / data["app_file"]).exists()


def test_its_requirements_name_the_wheel_of_this_version():
    assert f"bc_sam-{bc_sam.__version__}-py3-none-any.whl" in (SPACE / "requirements.txt").read_text()


def test_it_is_pushed_with_the_package_and_a_model(hub, repo_id, run_script, tmp_path, monkeypatch):
    wheel = f"bc_sam-{bc_sam.__version__}-py3-none-any.whl"

    def build(command, check):  # pip would have to fetch the build system from an index
        Path(command[command.index("--wheel-dir") + 1], wheel).write_bytes(b"wheel")

    monkeypatch.setattr("subprocess.run", build)
    model = small_model().save_pretrained(tmp_path / "model")
    run_script("push_space", repo_id, "--model", model)
    files = HfApi().list_repo_files(repo_id, repo_type="space")
    assert {"app.py", "README.md", "requirements.txt", wheel, "model/config.json"} <= set(files)
    assert RepoCard.load(repo_id, repo_type="space").data.sdk == "gradio"


@pytest.fixture(scope="module")
def page():
    """The page, served on loopback."""
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    app = importlib.util.module_from_spec(spec)
    sys.modules["space_app"] = app
    spec.loader.exec_module(app)
    blocks = app.build(small_model()).queue()
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    yield address
    blocks.close()


def test_a_cell_gets_its_outline_and_names(page, tmp_path):
    Image.new("RGB", (IMAGE_SIZE + 7, IMAGE_SIZE), "pink").save(tmp_path / "cell.tiff")
    client = Client(page, verbose=False, download_files=str(tmp_path / "down"))
    picture, names = client.predict(handle_file(tmp_path / "cell.tiff"), api_name="/name_cell")
    assert Image.open(picture).size == (IMAGE_SIZE + 7, IMAGE_SIZE)
    assert sum(guess["confidence"] for guess in names["confidences"]) == pytest.approx(1, abs=1e-3)


def test_what_is_no_image_gets_a_plain_answer_without_paths(page, tmp_path):
    (tmp_path / "cell.png").write_text("no image")
    client = Client(page, verbose=False, download_files=str(tmp_path / "down"))
    with pytest.raises(Exception, match=r"cell\.png") as caught:
        client.predict(handle_file(tmp_path / "cell.png"), api_name="/name_cell")
    assert "/" not in str(caught.value).split("cell.png")[0]
