"""The Space says what it needs, can be pushed, and names a cell through its page."""

import importlib.util
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path
from types import SimpleNamespace

import gradio
import pytest
import yaml
from gradio_client import Client, handle_file
from huggingface_hub import HfApi, RepoCard, snapshot_download
from packaging.requirements import Requirement
from PIL import Image
from small_model import IMAGE_SIZE, small_model

import bc_sam
from bc_sam import BCSam, BCSamError

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"


def test_its_front_matter_names_the_gradio_that_is_tested_here():
    data = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert (data["sdk"], data["sdk_version"]) == ("gradio", gradio.__version__)
    assert (SPACE / data["app_file"]).exists()
    assert f"gradio[oauth,mcp]=={gradio.__version__}" in (ROOT / "hub" / "README.md").read_text()


def test_its_requirements_are_what_the_package_needs_in_the_versions_tested_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(line) for line in project["dependencies"] + extras["space"] + extras["xgboost"]]
    needed = {canonical(need.name) for need in asked} - {"bc_sam", "gradio"}
    pinned = pins(SPACE / "requirements.txt")
    assert pinned.keys() == needed
    tested = pins(ROOT / "constraints.txt")
    assert {name for name in pinned if pinned[name] != tested[name]} <= {"pydantic"}
    assert all(
        need.specifier.contains(pinned[canonical(need.name)]) for need in asked if canonical(need.name) in pinned
    )


def test_gradio_as_a_space_installs_it_lets_its_requirements_in():
    pinned = pins(SPACE / "requirements.txt")
    for need in map(Requirement, requires("gradio")):
        applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("oauth", "mcp"))
        if applies and canonical(need.name) in pinned:
            assert need.specifier.contains(pinned[canonical(need.name)]), need


def pins(file):
    """Name and version of each line of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    return {canonical(name): number for name, _, number in (line.partition("==") for line in lines if line)}


def canonical(name):
    return name.lower().replace("-", "_")


def test_it_is_pushed_with_the_package_and_a_model(hub, repo_id, run_script, model_folder, tmp_path):
    run_script("push_space", model_folder, repo_id)
    assert RepoCard.load(repo_id, repo_type="space").data.sdk == "gradio"
    folder = Path(snapshot_download(repo_id, repo_type="space", local_dir=tmp_path / "space"))
    assert {"app.py", "README.md", "requirements.txt", "LICENSE"} <= set(os.listdir(folder))
    assert BCSam.from_pretrained(folder / "model").labels == BCSam.from_pretrained(model_folder).labels
    assert not list(folder.rglob("*.pyc"))
    assert [found.version for found in distributions(path=[str(folder)])] == [bc_sam.__version__]
    where = subprocess.run(
        [sys.executable, "-c", "import bc_sam; print(bc_sam.__file__)"], cwd=folder, capture_output=True, text=True
    )
    assert Path(where.stdout.strip()) == folder / "bc_sam" / "__init__.py"


def test_a_second_push_removes_what_the_package_no_longer_has(hub, repo_id, run_script, model_folder):
    run_script("push_space", model_folder, repo_id)
    HfApi().upload_file(path_or_fileobj=b"", path_in_repo="bc_sam/gone.py", repo_id=repo_id, repo_type="space")
    run_script("push_space", model_folder, repo_id)
    assert "bc_sam/gone.py" not in HfApi().list_repo_files(repo_id, repo_type="space")


def test_a_model_on_the_hub_is_linked_and_found_by_the_page(
    hub, repo_id, run_script, model_folder, app, tmp_path, monkeypatch
):
    BCSam.from_pretrained(model_folder).push_to_hub(repo_id)
    run_script("push_space", repo_id, repo_id, "--dry-run", tmp_path / "page")
    assert not (tmp_path / "page" / "model").exists()
    assert RepoCard.load(tmp_path / "page" / "README.md").data.models == [repo_id]
    monkeypatch.setattr(app, "HERE", tmp_path / "page")
    assert app.model_source() == repo_id


def test_the_page_takes_the_variable_then_the_folder_then_says_what_is_missing(app, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("---\nsdk: gradio\n---\n")
    monkeypatch.setattr(app, "HERE", tmp_path)
    with pytest.raises(SystemExit, match="BC_SAM_MODEL"):
        app.model_source()
    (tmp_path / "model").mkdir()
    assert app.model_source() == str(tmp_path / "model")
    monkeypatch.setenv("BC_SAM_MODEL", "runs/mine")
    assert app.model_source() == "runs/mine"


def test_a_model_that_does_not_load_is_not_published(hub, repo_id, run_script, tmp_path):
    with pytest.raises(BCSamError, match=r"config\.json"):
        run_script("push_space", tmp_path, repo_id)
    assert not HfApi().repo_exists(repo_id, repo_type="space")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return small_model().save_pretrained(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def app():
    """The module of the page, which is in no package."""
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(app):
    """The page, served on loopback."""
    blocks = app.build(small_model()).queue()
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    yield address
    blocks.close()


def test_an_example_is_named_when_it_is_chosen(app):
    choices = [block for block in app.build(small_model()).fns.values() if block.fn.__name__ == "name_example"]
    picture, names = choices[0].fn(SimpleNamespace(index=1))
    assert picture.size == (224, 224)
    assert sum(names.values()) == pytest.approx(1, abs=1e-3)


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
