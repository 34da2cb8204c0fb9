"""The Hub on loopback behaves like the real Hub to its clients."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    HfFileSystem,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    metadata_update,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

TESTS = Path(__file__).parents[1]
LARGE = np.random.default_rng(0).bytes(3 * 2**20)


@pytest.fixture
def api(hub):
    """Alice's client."""
    return HfApi()


@pytest.fixture
def repo(api, repo_id):
    """A repository with a small and a large file."""
    api.create_repo(repo_id)
    files = {"notes/hello.txt": b"hello\n", "model.bin": LARGE}
    api.create_commit(repo_id, [CommitOperationAdd(*file) for file in files.items()], commit_message="Files")
    return repo_id


def lines(calls):
    return [call["line"] for call in calls]


def ask(url, **headers):
    """Sends a raw request and returns the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def answers(endpoint):
    try:
        return ask(endpoint) == 404
    except urllib.error.URLError:
        return False


class TestSession:
    def test_every_process_uses_loopback_and_its_own_home(self, hub):
        assert hub.endpoint == constants.ENDPOINT == os.environ["HF_ENDPOINT"]
        assert hub.endpoint.startswith("http://127.0.0.1:")
        assert "bc-sam-hub-" in constants.HF_HOME
        assert not {name for name in os.environ if name.lower().endswith("_proxy")} - {"NO_PROXY"}

    def test_no_token_is_set_by_default(self):
        assert "HF_TOKEN" not in os.environ

    def test_calls_before_first_use_are_refused_at_once_and_leave_nothing_behind(self):
        program = """
            import os, urllib.error, urllib.request
            from hub_server.session import HubSession

            session = HubSession()
            home = os.path.dirname(os.environ["HF_HOME"])
            try:
                urllib.request.urlopen(session.endpoint)
            except urllib.error.URLError as error:
                print(type(error.reason).__name__, os.environ.get("HF_TOKEN"), os.path.exists(home))
            session.close()
            print(os.path.exists(home))
        """
        program = "\n".join(line[12:] for line in program.splitlines())
        foreign = os.environ | {"HF_TOKEN": "real", "HF_HUB_OFFLINE": "1", "https_proxy": "http://10.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=TESTS, env=foreign, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["ConnectionRefusedError", "None", "True", "False"]

    def test_the_hub_stops_when_its_parent_is_killed(self, tmp_path):
        program = "from hub_server.session import HubSession; s = HubSession(); print(s.hub().endpoint); input()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": os.environ | {"TMPDIR": str(tmp_path)}}
        with subprocess.Popen([sys.executable, "-uc", program], cwd=TESTS, text=True, **pipes) as process:
            endpoint = process.stdout.readline().strip()
            assert answers(endpoint)
            process.kill()
        deadline = time.monotonic() + 5
        while answers(endpoint):
            assert time.monotonic() < deadline
            time.sleep(0.02)


class TestTransfer:
    def test_files_round_trip(self, hub, transfer, repo, tmp_path):
        for name, content in (("notes/hello.txt", b"hello\n"), ("model.bin", LARGE)):
            assert Path(hf_hub_download(repo, name, cache_dir=tmp_path)).read_bytes() == content
        calls = lines(hub.log())
        assert any("/_cas/" in line for line in calls) == (transfer == "xet")
        assert any(line.startswith("PUT /_lfs/") for line in calls) == (transfer == "lfs")

    def test_xet_uploads_can_be_downloaded_without_xet(self, hub, repo, without_xet, tmp_path):
        hub.log()
        assert Path(hf_hub_download(repo, "model.bin", cache_dir=tmp_path)).read_bytes() == LARGE
        assert not [line for line in lines(hub.log()) if "/_cas/" in line]

    def test_the_token_is_not_sent_to_the_storage(self, hub, repo, without_xet, tmp_path):
        hub.log()
        hf_hub_download(repo, "model.bin", cache_dir=tmp_path)
        tokens = {(call["host"].partition(":")[0], call["auth"]) for call in hub.log()}
        assert tokens == {("127.0.0.1", True), ("localhost", False)}

    def test_the_storage_requires_a_signed_url(self, hub, repo):
        address = get_hf_file_metadata(hf_hub_url(repo, "model.bin")).location
        assert ask(address) == 200
        assert ask(address, Range="bytes=0-9") == 206
        assert ask(address.partition("&signature=")[0]) == 403

    def test_existing_files_are_neither_uploaded_nor_committed_again(self, hub, transfer, api, repo, tmp_path):
        (tmp_path / "model.bin").write_bytes(LARGE)
        hub.log()
        commit = api.upload_folder(repo_id=repo, folder_path=tmp_path)
        assert commit.oid == api.model_info(repo).sha
        assert len(api.list_repo_commits(repo)) == 2
        assert not [line for line in lines(hub.log()) if "PUT" in line or "/xorbs" in line]

    @pytest.mark.parametrize("kind", ["model", "dataset", "space"])
    def test_every_kind_of_repository_works(self, api, repo_id, kind, tmp_path):
        api.create_repo(repo_id, repo_type=kind, space_sdk="gradio" if kind == "space" else None)
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_repo(repo_id, repo_type=kind, space_sdk="gradio" if kind == "space" else None)
        api.upload_file(path_or_fileobj=LARGE, path_in_repo="a/b.bin", repo_id=repo_id, repo_type=kind)
        file = hf_hub_download(repo_id, "a/b.bin", repo_type=kind, cache_dir=tmp_path)
        assert Path(file).read_bytes() == LARGE
        assert api.list_repo_files(repo_id, repo_type=kind) == [".gitattributes", "a/b.bin"]
        api.delete_repo(repo_id, repo_type=kind)
        assert not api.repo_exists(repo_id, repo_type=kind)

    def test_a_range_of_a_file_can_be_read(self, hub, repo):
        with HfFileSystem().open(f"{repo}/model.bin") as file:
            file.seek(2**20)
            assert file.read(100) == LARGE[2**20 : 2**20 + 100]


class TestRights:
    def test_a_private_repository_is_hidden_from_others(self, hub, api, repo, tmp_path):
        api.update_repo_settings(repo, private=True)
        for token, status in ((False, 401), (hub.BOB, 404)):
            hub.log()
            with pytest.raises(RepositoryNotFoundError):
                hf_hub_download(repo, "model.bin", token=token, cache_dir=tmp_path)
            assert {call["status"] for call in hub.log()} == {status}

    def test_a_read_token_cannot_write(self, hub, api, repo_id):
        repo_id = repo_id.replace("alice/", "lab/")
        api.create_repo(repo_id, private=True)
        carol = HfApi(token=hub.CAROL)
        assert carol.whoami()["orgs"][0]["name"] == "lab"
        assert carol.model_info(repo_id).private
        with pytest.raises(HfHubHTTPError, match="403"):
            carol.upload_file(path_or_fileobj=b"", path_in_repo="a.txt", repo_id=repo_id)

    def test_a_gated_repository_is_visible_but_not_downloadable(self, hub, api, repo, tmp_path):
        api.update_repo_settings(repo, gated="manual")
        assert HfApi(token=hub.BOB).model_info(repo).gated == "manual"
        with pytest.raises(GatedRepoError):
            hf_hub_download(repo, "model.bin", token=hub.BOB, cache_dir=tmp_path)

    def test_an_unknown_token_is_refused(self, hub, repo):
        with pytest.raises(HfHubHTTPError, match="401"):
            HfApi(token="hf_nobody").model_info(repo)


class TestRevisions:
    def test_missing_entries_raise_the_right_error(self, api, repo, tmp_path):
        with pytest.raises(RevisionNotFoundError):
            hf_hub_download(repo, "model.bin", revision="v9", cache_dir=tmp_path)
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download(repo, "model.txt", cache_dir=tmp_path)

    def test_branches_and_tags(self, api, repo):
        first = api.model_info(repo).sha
        api.create_branch(repo, branch="trial/one")
        api.create_tag(repo, tag="v1")
        api.delete_file("model.bin", repo, revision="trial/one")
        refs = api.list_repo_refs(repo)
        assert [tag.target_commit for tag in refs.tags] == [first]
        assert {branch.name for branch in refs.branches} == {"main", "trial/one"}
        assert not api.file_exists(repo, "model.bin", revision="trial/one")
        assert api.file_exists(repo, "model.bin", revision="v1")
        api.delete_tag(repo, tag="v1")
        with pytest.raises(RevisionNotFoundError):
            api.model_info(repo, revision="v1")

    def test_a_pull_request_leaves_main_alone(self, api, repo):
        commit = api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=repo, create_pr=True)
        assert commit.pr_revision == "refs/pr/1"
        assert api.file_exists(repo, "new.txt", revision="refs/pr/1")
        assert not api.file_exists(repo, "new.txt")

    def test_a_commit_on_an_old_parent_is_refused(self, api, repo):
        parent = api.model_info(repo).sha
        first, second = CommitOperationAdd("a.txt", b"new"), CommitOperationAdd("b.txt", b"new")
        api.create_commit(repo, [first], commit_message="First", parent_commit=parent)
        with pytest.raises(HfHubHTTPError, match="412"):
            api.create_commit(repo, [second], commit_message="Second", parent_commit=parent)
        assert api.list_repo_commits(repo)[0].title == "First"

    def test_concurrent_commits_all_succeed(self, api, repo):
        def push(number):
            return api.upload_file(path_or_fileobj=b"", path_in_repo=f"{number}.txt", repo_id=repo).oid

        with ThreadPoolExecutor(8) as pool:
            pushed = list(pool.map(push, range(8)))
        assert {commit.commit_id for commit in api.list_repo_commits(repo)} > set(pushed)
        assert {f"{number}.txt" for number in range(8)} < set(api.list_repo_files(repo))

    def test_files_and_folders_are_described(self, api, repo):
        folder, file = api.get_paths_info(repo, ["notes", "model.bin", "no.txt"])
        assert (folder.path, file.size, file.lfs.size) == ("notes", len(LARGE), len(LARGE))
        assert [entry.path for entry in api.list_repo_tree(repo, "notes")] == ["notes/hello.txt"]

    def test_a_card_is_parsed_and_an_invalid_one_refused(self, api, repo):
        metadata_update(repo, {"license": "apache-2.0", "library_name": "bc_sam"})
        assert api.model_info(repo).library_name == "bc_sam"
        with pytest.raises(ValueError, match="YAML"):
            api.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=repo)


class TestFaults:
    def test_a_status_fault_applies_the_given_number_of_times(self, hub, api, repo):
        hub.fault({"match": "POST .*/preupload", "status": 503, "times": 1})
        hub.log()
        api.upload_file(path_or_fileobj=b"1", path_in_repo="new.txt", repo_id=repo)
        assert [call["status"] for call in hub.log() if "preupload" in call["line"]] == [503, 200]

    def test_a_delay_fault_delays_the_response(self, hub, api):
        hub.fault({"match": "whoami", "delay": 0.3})
        start = time.monotonic()
        api.whoami()
        assert time.monotonic() - start >= 0.3

    def test_a_response_can_be_lost_after_the_request_was_handled(self, hub, api, repo):
        hub.fault({"match": "POST .*/commit/", "cut": 0})
        with pytest.raises(httpx2.RemoteProtocolError):
            api.upload_file(path_or_fileobj=b"1", path_in_repo="new.txt", repo_id=repo)
        assert api.file_exists(repo, "new.txt")

    def test_an_interrupted_download_is_resumed(self, hub, repo, without_xet, tmp_path):
        hub.fault({"match": "GET /_lfs", "cut": 1000})
        hub.log()
        assert Path(hf_hub_download(repo, "model.bin", cache_dir=tmp_path)).read_bytes() == LARGE
        assert next(call["status"] for call in hub.log() if "GET /_lfs" in call["line"]) == -1

    def test_an_unknown_fault_is_refused(self, hub):
        with pytest.raises(TypeError, match="explode"):
            hub.fault({"match": ".", "explode": True})


class TestProcesses:
    @pytest.mark.parametrize(("xet", "sending"), [(True, "POST /_cas/v1/xorbs"), (False, "PUT /_lfs")])
    def test_a_killed_upload_changes_nothing_and_can_be_repeated(self, hub, api, repo, xet, sending, tmp_path):
        head, file = api.model_info(repo).sha, tmp_path / "new.bin"
        file.write_bytes(LARGE[::-1])
        options = {"path_or_fileobj": str(file), "path_in_repo": "new.bin", "repo_id": repo}
        program = f"import huggingface_hub as h; h.upload_file(**{options!r})"
        command, environment = [sys.executable, "-c", program], hub.env(tmp_path / "home", hub.ALICE, xet=xet)
        hub.fault({"match": sending, "trickle": 0.5})
        hub.log()
        with subprocess.Popen(command, env=environment) as process:
            while not any(line.startswith(sending) for line in lines(hub.log(clear=False))):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        assert api.model_info(repo).sha == head
        assert not api.file_exists(repo, "new.bin")
        hub.fault()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        assert Path(api.hf_hub_download(repo, "new.bin", cache_dir=tmp_path)).read_bytes() == LARGE[::-1]

    def test_the_hf_command(self, hub, repo_id, tmp_path):
        def hf(*arguments, token=hub.ALICE):
            environment = hub.env(tmp_path / "home", token)
            command = [str(Path(sys.executable).with_name("hf")), *map(str, arguments)]
            return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)

        (tmp_path / "cells").mkdir()
        (tmp_path / "cells" / "model.bin").write_bytes(LARGE)
        assert hf("upload", repo_id, "cells", "--private").returncode == 0
        assert hf("download", repo_id, "--local-dir", "back").returncode == 0
        assert (tmp_path / "back" / "model.bin").read_bytes() == LARGE
        refused = hf("download", repo_id, token=hub.BOB)
        assert refused.returncode != 0
        assert "not found" in refused.stdout.lower() + refused.stderr.lower()
