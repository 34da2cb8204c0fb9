"""The Space declares its requirements, can be published, and classifies a cell through its page."""

import os
import socket
import subprocess
import sys
import time
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path

import gradio
import pytest
import yaml
from files_left import files_left
from gradio_client import Client, handle_file
from huggingface_hub import HfApi, RepoCard, snapshot_download
from packaging.requirements import Requirement
from PIL import Image
from small_model import IMAGE_SIZE, small_model

import bc_sam
from bc_sam import BCSamError, load_model
from bc_sam.cli import main
from bc_sam.space.server.model_source import model_source
from bc_sam.utils.model_source import EMBEDDED_MODEL

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"


def uploaded(folder, name):
    return [file for page in folder.glob("bc_sam_page_*") for file in files_left(page, name)]


def test_its_front_matter_pins_the_tested_gradio():
    data = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert (data["sdk"], data["sdk_version"]) == ("gradio", gradio.__version__)
    assert (SPACE / data["app_file"]).exists()
    assert f"gradio[oauth,mcp]=={gradio.__version__}" in (ROOT / "hub" / "README.md").read_text()


def test_its_requirements_pin_the_packages_dependencies_at_the_tested_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [Requirement(line) for line in project["dependencies"] + extras["space"]]
    with_torch = [Requirement(line) for line in extras["torch"] + extras["xgboost"]]
    pinned, more = pins(SPACE / "requirements.txt"), pins(SPACE / "requirements_torch.txt")
    assert pinned.keys() == {canonical(need.name) for need in requirements} - {"gradio"}
    assert more.keys() == {canonical(need.name) for need in with_torch} - pinned.keys()
    requirements, pinned = requirements + with_torch, pinned | more
    tested = pins(ROOT / "constraints.txt")
    assert {name for name in pinned if pinned[name] != tested[name]} <= {"pydantic"}
    assert all(
        need.specifier.contains(pinned[canonical(need.name)])
        for need in requirements
        if canonical(need.name) in pinned
    )


def test_its_requirements_are_compatible_with_the_gradio_of_spaces():
    pinned = pins(SPACE / "requirements.txt")
    for need in map(Requirement, requires("gradio")):
        applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("oauth", "mcp"))
        if applies and canonical(need.name) in pinned:
            assert need.specifier.contains(pinned[canonical(need.name)]), need


def pins(file):
    """Returns the pinned version of each package in a requirements file."""
    lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def canonical(name):
    return name.lower().replace("-", "_")


def test_it_is_published_with_the_package_and_a_model(hub, repo_id, run_script, exported_model, tmp_path):
    run_script("push_space", exported_model, repo_id)
    assert RepoCard.load(repo_id, repo_type="space").data.sdk == "gradio"
    folder = Path(snapshot_download(repo_id, repo_type="space", local_dir=tmp_path / "space"))
    assert {"app.py", "README.md", "requirements.txt", "LICENSE"} <= set(os.listdir(folder))
    assert load_model(folder / "model", backend="onnx").labels == load_model(exported_model).labels
    assert not (folder / "requirements_torch.txt").exists()
    assert not list(folder.rglob("*.pyc"))
    assert [found.version for found in distributions(path=[str(folder)])] == [bc_sam.__version__]
    where = subprocess.run(
        [sys.executable, "-c", "import bc_sam; print(bc_sam.__file__)"], cwd=folder, capture_output=True, text=True
    )
    assert Path(where.stdout.strip()) == folder / "bc_sam" / "__init__.py"


def test_it_installs_torch_only_if_asked_to(run_script, model_folder, tmp_path):
    with pytest.raises(BCSamError, match=r"has no export to ONNX.* bc-sam export .* --torch"):
        run_script("push_space", model_folder, "owner/space", "--dry-run", tmp_path / "page")
    run_script("push_space", model_folder, "owner/space", "--dry-run", tmp_path / "page", "--torch")
    both = pins(SPACE / "requirements.txt") | pins(SPACE / "requirements_torch.txt")
    assert pins(tmp_path / "page" / "requirements.txt") == both


def test_a_second_push_removes_obsolete_files(hub, repo_id, run_script, exported_model):
    run_script("push_space", exported_model, repo_id)
    HfApi().upload_file(path_or_fileobj=b"", path_in_repo="bc_sam/gone.py", repo_id=repo_id, repo_type="space")
    run_script("push_space", exported_model, repo_id)
    assert "bc_sam/gone.py" not in HfApi().list_repo_files(repo_id, repo_type="space")


def test_a_model_on_the_hub_is_linked_and_found_by_the_page(hub, repo_id, run_script, exported_model, tmp_path):
    load_model(exported_model).push_to_hub(repo_id)
    run_script("push_space", repo_id, repo_id, "--dry-run", tmp_path / "page")
    assert not (tmp_path / "page" / "model").exists()
    assert RepoCard.load(tmp_path / "page" / "README.md").data.models == [repo_id]
    assert model_source(tmp_path / "page") == repo_id


def test_the_model_comes_from_the_variable_else_the_folder_else_the_package(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("---\nsdk: gradio\n---\n")
    for space in (tmp_path, None):
        assert model_source(space) == EMBEDDED_MODEL
    (tmp_path / "model").mkdir()
    assert model_source(tmp_path) == str(tmp_path / "model")
    monkeypatch.setenv("BC_SAM_MODEL", "runs/mine")
    assert model_source(tmp_path) == "runs/mine"


def test_a_model_that_does_not_load_is_not_published(hub, repo_id, run_script, tmp_path):
    with pytest.raises(BCSamError, match=r"config\.json"):
        run_script("push_space", tmp_path, repo_id)
    assert not HfApi().repo_exists(repo_id, repo_type="space")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return small_model().save_pretrained(tmp_path_factory.mktemp("small") / "model")


@pytest.mark.parametrize(
    "command", [["space/app.py"], ["-m", "bc_sam", "serve", "--port", "PORT", "--backend", "onnx"]]
)
def test_it_starts_classifies_a_cell_and_deletes_the_upload(command, exported_model, tmp_path):
    """Offline, in a separate process, as a Space and on a laptop."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "BC_SAM_MODEL": str(exported_model),
        "GRADIO_SERVER_PORT": str(port),
        "TMPDIR": str(tmp_path),
        "BROWSER": "true",
        "HF_HUB_OFFLINE": "1",
    }
    arguments = [str(port) if part == "PORT" else part for part in command]
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment) as process:
        try:
            client = client_when_up(f"http://127.0.0.1:{port}", tmp_path)
            Image.new("RGB", (IMAGE_SIZE + 7, IMAGE_SIZE), "pink").save(tmp_path / "cell.tiff")
            answer = client.predict(handle_file(tmp_path / "cell.tiff"), api_name="/name_cell")
            assert answer["name"] is None
            assert "shows nothing" in answer["reasons"][0]
            assert list(tmp_path.glob("bc_sam_page_*"))
            gone = time.monotonic() + 20
            while uploaded(tmp_path, "cell.tiff"):  # deleted after the request
                assert time.monotonic() < gone
                time.sleep(0.1)
        finally:
            process.terminate()
    assert not list(tmp_path.glob("bc_sam_page_*"))


def client_when_up(address, folder, seconds=120):
    """Waits until the page responds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Client(address, verbose=False, download_files=str(folder))
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def test_without_gradio_the_error_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    monkeypatch.setattr(sys, "argv", ["bc-sam", "serve"])
    with pytest.raises(SystemExit):
        main()
    assert "bc_sam[space]" in capsys.readouterr().err


def test_the_former_spelling_names_the_new_one(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["bc-sam", "demo", "--serve"])
    with pytest.raises(SystemExit):
        main()
    assert "demo --serve is now spelled serve [MODEL]." in capsys.readouterr().err.splitlines()
