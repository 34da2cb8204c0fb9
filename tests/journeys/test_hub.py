"""Models are pushed to and loaded from the Hub, also when requests fail."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import killed_at
from huggingface_hub import HfApi, ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from skops import io as skops_io
from small_model import IMAGE_SIZE, LATENT_DIM, small_model, small_sam
from transformers import SamModel

from bc_sam import BCSam
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.skops_files import trusted_types
from bc_sam.classifiers.thumbnails import draw_thumbnail
from bc_sam.errors import BCSamError, HubError, WeightsError
from bc_sam.training.adaptation import Adaptation, AdaptationConfig
from bc_sam.utils.model_source import display_name, resolve_folder

CELLS = list(np.random.default_rng(0).integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch):
    """A processor without units for bfloat16, so that models can be compared to the last digits."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def elsewhere(tmp_path):
    """The cache of another machine, which holds nothing yet."""
    return tmp_path / "cache"


def files_of(repo_id, revision=None):
    return set(HfApi().list_repo_files(repo_id, revision=revision))


def same(one, other):
    np.testing.assert_allclose(one.predict_proba(CELLS), other.predict_proba(CELLS), atol=1e-6)
    for mine, theirs in zip(one.segment(CELLS), other.segment(CELLS), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class TestRoundTrip:
    def test_pushed_here_it_names_the_same_cells_elsewhere(self, hub, transfer, repo_id, model, elsewhere):
        commit = model.push_to_hub(repo_id)
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))
        assert commit.oid == HfApi().model_info(repo_id).sha
        assert len(HfApi().list_repo_commits(repo_id)) == 2  # the one that made the repository, and ours

    def test_a_name_alone_is_ones_own_repository(self, hub, repo_id, model):
        model.push_to_hub(repo_id.removeprefix("alice/"))
        assert f'from_pretrained("{repo_id}")' in ModelCard.load(repo_id).text

    def test_the_repository_says_what_it_is(self, hub, repo_id, model):
        model.push_to_hub(repo_id)
        card = ModelCard.load(repo_id)
        assert (card.data.library_name, card.data.pipeline_tag) == ("bc_sam", "image-classification")
        assert "blood-cells" in card.data.tags
        assert f'from_pretrained("{repo_id}")' in card.text

    def test_a_second_load_asks_for_no_file_and_needs_no_network(self, hub, repo_id, model, elsewhere):
        model.push_to_hub(repo_id)
        BCSam.from_pretrained(repo_id, cache_dir=elsewhere)
        hub.log()
        BCSam.from_pretrained(repo_id, cache_dir=elsewhere)
        assert not [call for call in hub.log() if "/resolve/" in call["line"] or "_cas" in call["line"]]
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere, local_files_only=True))
        assert hub.log() == []

    def test_thumbnails_are_pushed_and_removed_by_a_model_without(self, hub, repo_id, elsewhere):
        model = small_model()
        drawn = tuple(draw_thumbnail(np.full((64, 64, 3), row, np.uint8)) for row in range(60))
        without, model.reference = model.reference, replace(model.reference, thumbnails=drawn)
        model.push_to_hub(repo_id)
        assert BCSam.from_pretrained(repo_id, cache_dir=elsewhere).reference.thumbnails == drawn
        assert "contains thumbnails of 60 training cells" in ModelCard.load(repo_id).text
        model.reference = without
        model.push_to_hub(repo_id)
        assert BCSam.from_pretrained(repo_id, cache_dir=elsewhere).n_thumbnails == {}
        assert not [name for name in HfApi().list_repo_files(repo_id) if "thumbnails" in name]
        assert "contains thumbnails" not in ModelCard.load(repo_id).text

    def test_a_private_model_is_for_those_who_have_a_token(self, hub, repo_id, model, elsewhere):
        model.push_to_hub(repo_id, private=True)
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))
        for token in (False, hub.BOB):
            with pytest.raises(HubError, match="hf auth login"):
                BCSam.from_pretrained(repo_id, token=token, cache_dir=elsewhere / "other")

    def test_several_models_share_a_repository(self, hub, repo_id, model, elsewhere, tmp_path):
        other = small_model(seed=1)
        folder = tmp_path / "both"
        model.save_pretrained(folder / "one")
        other.save_pretrained(folder / "two" / "small")
        HfApi().create_repo(repo_id)
        HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
        same(model, BCSam.from_pretrained(repo_id, subfolder="one", cache_dir=elsewhere))
        same(other, BCSam.from_pretrained(repo_id, subfolder="two/small", cache_dir=elsewhere))
        same(other, BCSam.from_pretrained(folder, subfolder="two/small"))
        with pytest.raises(BCSamError, match="leads out"):
            BCSam.from_pretrained(repo_id, subfolder="../one")
        with pytest.raises(WeightsError, match="three"):
            BCSam.from_pretrained(repo_id, subfolder="three", cache_dir=elsewhere)


def test_fit_and_adapt_reach_a_private_model_in_a_subfolder(hub, repo_id, model, run_bc_sam, monkeypatch, tmp_path):
    """The token of the option serves for the whole command and is written nowhere."""
    model.save_pretrained(tmp_path / "both" / "small")
    HfApi().create_repo(repo_id, private=True)
    HfApi().upload_folder(repo_id=repo_id, folder_path=tmp_path / "both")
    monkeypatch.setenv("HF_TOKEN", hub.BOB)  # who may not read it
    labels = np.repeat([0, 9], 10)
    latents = np.random.default_rng(0).random((20, LATENT_DIM), dtype=np.float32) + labels[:, None]
    for name, values in {"X": latents, "y": labels, "dataset": labels * 0}.items():
        np.save(tmp_path / f"{name}.npy", values)
    options = ("--original", tmp_path, "--classifiers", "logistic", "--out", tmp_path / "fitted")
    fit = ("fit", repo_id, "--subfolder", "small", *options)
    assert run_bc_sam(*fit) == 1
    assert run_bc_sam(*fit, "--token", hub.ALICE) == 0
    assert tuple(BCSam.from_pretrained(tmp_path / "fitted").classifiers) == ("logistic",)
    config = AdaptationConfig(repo_id, "ours=cells", subfolder="small")
    with Adaptation.create(tmp_path / "run", config) as adaptation:
        same(model, adaptation.model)
    assert hub.ALICE not in (tmp_path / "run" / "adaptation.json").read_text()


class TestRevisions:
    def test_every_part_comes_from_the_revision_that_was_asked_for(self, hub, repo_id, model, elsewhere):
        first = model.push_to_hub(repo_id)
        second = small_model(seed=1, classifiers=("svm_rbf",))
        second.push_to_hub(repo_id)
        HfApi().create_tag(repo_id, tag="v1", revision=first.oid)
        for revision in (first.oid, "v1"):
            same(model, BCSam.from_pretrained(repo_id, revision=revision, cache_dir=elsewhere))
        same(second, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))

    def test_a_second_push_removes_what_no_longer_belongs_and_nothing_else(self, hub, repo_id, model):
        model.push_to_hub(repo_id)
        HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes/mine.txt", repo_id=repo_id)
        small_model(seed=1, classifiers=("svm_rbf",)).push_to_hub(repo_id)
        there = files_of(repo_id)
        assert {name for name in there if name.endswith(".skops")} == {"classifiers/svm_rbf.skops"}
        assert "notes/mine.txt" in there

    def test_the_same_model_again_is_no_new_commit(self, hub, repo_id, model, elsewhere):
        first = model.push_to_hub(repo_id)
        again = BCSam.from_pretrained(repo_id, cache_dir=elsewhere)
        assert again.push_to_hub(repo_id).oid == first.oid

    def test_a_branch_and_a_pull_request_leave_main_alone(self, hub, repo_id, model, elsewhere):
        main = model.push_to_hub(repo_id).oid
        other = small_model(seed=1)
        other.push_to_hub(repo_id, revision="trial")
        proposal = other.push_to_hub(repo_id, create_pr=True)
        assert proposal.pr_url is not None
        assert HfApi().model_info(repo_id).sha == main
        for revision in ("trial", proposal.pr_revision):
            same(other, BCSam.from_pretrained(repo_id, revision=revision, cache_dir=elsewhere))

    def test_manual_edits_of_the_card_are_kept(self, hub, repo_id, model):
        model.push_to_hub(repo_id)
        card = ModelCard.load(repo_id)
        card.text = card.text.replace("\n## ", "\n## About our laboratory\n\nCall Ms Fischer.\n\n## ", 1)
        card.data.license = "cc-by-4.0"
        card.push_to_hub(repo_id)
        small_model(seed=1).push_to_hub(repo_id)
        again = ModelCard.load(repo_id)
        assert "Call Ms Fischer." in again.text
        assert again.data.license == "cc-by-4.0"


class TestBaseOnTheHub:
    @pytest.fixture
    def pinned(self, hub, repo_id):
        """A model whose base is another repository, which has moved on since."""
        base_id = f"{repo_id}-base"
        small_sam().push_to_hub(base_id)
        commit = HfApi().model_info(base_id).sha
        base = SamModel.from_pretrained(base_id)
        model = small_model(sam=base, base=base_id, base_revision=commit, base_inside=False)
        small_sam(seed=9).push_to_hub(base_id)
        return model

    def test_the_base_is_fetched_at_its_own_revision(self, hub, repo_id, pinned, elsewhere):
        pinned.push_to_hub(repo_id)
        assert not any(name.startswith("base/") for name in files_of(repo_id))
        same(pinned, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))
        same(pinned, BCSam.from_pretrained(repo_id, cache_dir=elsewhere, local_files_only=True))

    def test_the_card_names_it(self, hub, repo_id, pinned):
        pinned.push_to_hub(repo_id)
        data = ModelCard.load(repo_id).data
        assert (data.base_model, data["base_model_relation"]) == (f"{repo_id}-base", "adapter")

    def test_a_folder_that_was_saved_with_it_needs_no_hub(self, hub, pinned, tmp_path):
        folder = pinned.save_pretrained(tmp_path / "stick", include_base=True)
        hub.log()
        same(pinned, BCSam.from_pretrained(folder))
        assert hub.log() == []

    def test_a_folder_here_of_the_same_name_is_not_taken_for_it(self, hub, repo_id, pinned, tmp_path, monkeypatch):
        pinned.push_to_hub(repo_id)
        monkeypatch.chdir(tmp_path)
        small_sam(seed=5).save_pretrained(tmp_path / f"{repo_id}-base")
        same(pinned, BCSam.from_pretrained(repo_id, cache_dir=tmp_path / "cache"))


class TestPlainLibraries:
    """All parts can be loaded without bc_sam."""

    def test_peft_opens_the_adapter_on_a_plain_sam(self, hub, repo_id, model):
        model.push_to_hub(repo_id)
        snapshot = Path(HfApi().snapshot_download(repo_id))
        plain = PeftModel.from_pretrained(SamModel.from_pretrained(snapshot / "base"), snapshot / "adapter")
        merged = plain.merge_and_unload().state_dict()
        for name, tensor in model.sam.state_dict().items():
            np.testing.assert_allclose(merged[name], tensor, atol=1e-6)

    def test_safetensors_opens_the_autoencoder(self, model, tmp_path):
        tensors = load_file(model.save_pretrained(tmp_path / "model") / "autoencoder" / "model.safetensors")
        assert tensors.keys() == model.autoencoder.state_dict().keys()

    def test_skops_opens_each_classifier(self, model, tmp_path):
        folder = model.save_pretrained(tmp_path / "model")
        for name, classifier in model.classifiers.items():
            estimator = skops_io.load(folder / "classifiers" / f"{name}.skops", trusted=trusted_types(KINDS[name]))
            latents = model.embed(CELLS)
            np.testing.assert_array_equal(
                estimator.predict_proba(latents), classifier.estimator.predict_proba(latents)
            )


class TestPrivacy:
    def test_pushed_files_contain_no_local_paths(self, run_folder, small_base):
        assert str(small_base) in (run_folder / "run.json").read_text()
        for file in (run_folder / "model").rglob("*"):
            if file.suffix in (".json", ".md"):
                for local in (run_folder, small_base):
                    assert str(local.parent) not in file.read_text(), file

    def test_a_model_is_called_by_its_last_part(self, tmp_path):
        assert display_name("org/bc-sam") == "org/bc-sam"
        assert display_name(tmp_path / "patients" / "sam.pth") == "sam.pth"
        assert display_name("tiny") == "tiny"


class TestWhenTheHubFails:
    @pytest.fixture(autouse=True)
    def _short_waits(self, monkeypatch):
        """Whoever waits before another attempt, bc_sam or the client, does so for a moment only."""
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))

    def test_what_does_not_exist_is_named(self, hub, repo_id, model, elsewhere):
        with pytest.raises(HubError, match="no repository of that name"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)
        model.push_to_hub(repo_id)
        with pytest.raises(HubError, match="no revision 'v9'"):
            BCSam.from_pretrained(repo_id, revision="v9", cache_dir=elsewhere)
        HfApi().delete_file("classifiers/rf.skops", repo_id=repo_id)
        with pytest.raises(WeightsError, match=r"rf\.skops is missing"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)

    def test_a_repository_that_is_no_model_says_so(self, hub, repo_id, elsewhere):
        HfApi().create_repo(repo_id)
        HfApi().upload_file(path_or_fileobj=b"hello", path_in_repo="hello.txt", repo_id=repo_id)
        with pytest.raises(WeightsError, match=r"not a bc_sam model|no folder"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)

    def test_without_the_right_to_write_nothing_is_pushed(self, hub, repo_id, model):
        for token, reason in ((hub.BOB, "no write access"), ("hf_wrong", "rejected your token")):
            with pytest.raises(HubError, match=reason):
                model.push_to_hub(repo_id, token=token)
        assert not HfApi().repo_exists(repo_id)

    def test_a_public_repository_is_not_taken_for_a_private_one(self, hub, repo_id, model):
        model.push_to_hub(repo_id, private=False)
        with pytest.raises(HubError, match="is public"):
            small_model(seed=1).push_to_hub(repo_id, private=True)

    def test_a_push_removes_what_a_killed_one_left(self, hub, repo_id, model, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert killed_at(lambda: model.push_to_hub(repo_id), tmp_path, 9)
        assert list(tmp_path.rglob("*.safetensors"))
        model.push_to_hub(repo_id)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("call", ["POST /api/repos/create", "GET /api/models", "preupload", "POST .*/commit/"])
    def test_a_push_survives_two_failures_of_the_server(self, hub, transfer, repo_id, model, call, elsewhere):
        hub.fault({"match": call, "status": 500, "times": 2})
        model.push_to_hub(repo_id)
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))
        assert len(HfApi().list_repo_commits(repo_id)) == 2

    def test_a_commit_whose_answer_was_lost_is_not_made_twice(self, hub, repo_id, model):
        hub.fault({"match": "POST .*/commit/", "cut": 0, "times": 1})
        commit = model.push_to_hub(repo_id)
        assert commit.oid == HfApi().model_info(repo_id).sha
        assert len(HfApi().list_repo_commits(repo_id)) == 2

    def test_a_load_survives_two_failures_of_the_server(self, hub, transfer, repo_id, model, elsewhere):
        model.push_to_hub(repo_id)
        hub.fault({"match": "GET (/api/models|/.*resolve)", "status": 500, "times": 2})
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))

    def test_a_push_after_a_concurrent_commit_is_rejected(self, hub, repo_id, model, monkeypatch):
        model.push_to_hub(repo_id)
        write = BCSam._write

        def overtaken(*args, **kwargs):
            HfApi().upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=repo_id)
            return write(*args, **kwargs)

        monkeypatch.setattr(BCSam, "_write", overtaken)
        with pytest.raises(HubError, match="in the meantime"):
            small_model(seed=1).push_to_hub(repo_id)

    def test_an_upload_that_breaks_leaves_the_repository_as_it_was(self, hub, repo_id, model, monkeypatch, elsewhere):
        before = model.push_to_hub(repo_id).oid
        other = small_model(seed=1)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        hub.fault({"match": "PUT /_lfs", "status": 403, "times": 1})
        with pytest.raises(HubError, match="No commit was made"):
            other.push_to_hub(repo_id)
        assert HfApi().model_info(repo_id).sha == before
        hub.fault()
        hub.log()
        other.push_to_hub(repo_id)
        same(other, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))

    def test_a_download_that_breaks_is_taken_up_again(self, hub, repo_id, model, monkeypatch, elsewhere):
        model.push_to_hub(repo_id)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        hub.fault({"match": "GET /_lfs", "cut": 1000, "times": 1000})
        with pytest.raises(HubError):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)
        with pytest.raises(HubError, match="in full"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere, local_files_only=True)
        hub.fault()
        same(model, BCSam.from_pretrained(repo_id, cache_dir=elsewhere))

    def test_a_hub_that_never_answers_is_reported(self, hub, repo_id, model, monkeypatch, elsewhere):
        model.push_to_hub(repo_id)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
        hub.fault({"match": "GET /api/models", "delay": 3600, "times": 100})
        with pytest.raises(HubError, match=r"did not answer within 0\.5 seconds\..*HF_HUB_DOWNLOAD_TIMEOUT"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)

    def test_a_hub_that_never_answers_does_not_keep_a_cached_model_from_loading(
        self, hub, repo_id, model, monkeypatch
    ):
        model.push_to_hub(repo_id)
        BCSam.from_pretrained(repo_id)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
        hub.fault({"match": "GET /api/models", "delay": 3600, "times": 100})
        same(model, BCSam.from_pretrained(repo_id))

    @pytest.mark.parametrize(
        "headers", [{"Retry-After": "86400"}, {"ratelimit": '"api";r=0;t=86400'}], ids=["retry-after", "ratelimit"]
    )
    @pytest.mark.parametrize("call", ["GET /api/models", "GET /api/models/.*/tree", "GET /.*resolve"])
    def test_a_hub_that_says_to_wait_for_a_day_is_reported(
        self, hub, without_xet, repo_id, model, elsewhere, call, headers
    ):
        model.push_to_hub(repo_id)
        hub.fault({"match": call, "status": 429, "headers": headers, "times": 100})
        with pytest.raises(HubError, match="asks to wait for 24 h "):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)

    def test_an_answer_that_is_not_of_the_hub_is_reported(self, hub, repo_id, model, elsewhere):
        model.push_to_hub(repo_id)
        hub.fault({"match": "GET /api/models", "status": 200, "times": 100})
        with pytest.raises(HubError, match=f"answer about {repo_id} is not one of the Hub"):
            BCSam.from_pretrained(repo_id, cache_dir=elsewhere)

    @pytest.mark.parametrize("name", ["config.json", "autoencoder/model.safetensors"])
    def test_a_file_damaged_on_its_way_is_fetched_again(self, hub, repo_id, model, run_bc_sam, capsys, name):
        model.push_to_hub(repo_id)
        path = BCSam.from_pretrained(repo_id) and resolve_folder(repo_id, [name]) / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert run_bc_sam("info", repo_id) == 1
        assert f"bc-sam info {repo_id} --force-download" in capsys.readouterr().err
        assert run_bc_sam("info", repo_id, "--force-download") == 0
        same(model, BCSam.from_pretrained(repo_id))


class TestOffline:
    def test_a_folder_needs_no_network_at_all(self, model, tmp_path):
        """With every socket blocked, in a process of its own, from the load to the label."""
        folder = model.save_pretrained(tmp_path / "stick")
        script = f"""
            import socket
            import numpy as np

            def refuse(*args, **kwargs):
                raise AssertionError("asked the network")

            socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
            from bc_sam import BCSam

            model = BCSam.from_pretrained({str(folder)!r})
            print(model.predict([np.zeros(({IMAGE_SIZE}, {IMAGE_SIZE}, 3), np.uint8)])[0])
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() in model.labels

    def test_a_hub_that_cannot_be_reached_says_so(self, model, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        script = """
            from bc_sam import BCSam, BCSamError
            try:
                BCSam.from_pretrained("org/bc-sam")
            except BCSamError as error:
                print(error)
        """
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert "Check the connection" in done.stdout


class TestOtherVersions:
    def saved_with(self, model, folder, name, number):
        model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        config["versions"][name] = number
        del config["digest"]  # as in a model of an earlier version
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def test_classifiers_that_still_say_the_same_are_taken(self, model, tmp_path, caplog):
        folder = self.saved_with(model, tmp_path / "model", "scikit-learn", "1.2.3")
        with caplog.at_level("INFO"):
            same(model, BCSam.from_pretrained(folder))
        assert f"scikit-learn 1.2.3 (here {version('scikit-learn')})" in caplog.text

    def test_classifiers_that_say_something_else_are_refused_or_fitted_again(self, model, tmp_path):
        drifted = small_model()
        drifted.classifiers["rf"].estimator.estimators_ = drifted.classifiers["rf"].estimator.estimators_[:1]
        stale = self.saved_with(model, tmp_path / "model", "scikit-learn", "1.2.3")
        wrong = drifted.save_pretrained(tmp_path / "drifted")
        shutil.copy(wrong / "classifiers" / "rf.skops", stale / "classifiers" / "rf.skops")
        config = json.loads((stale / "config.json").read_text())
        config.pop("digest", None)
        config["files"]["classifiers/rf.skops"] = json.loads((wrong / "config.json").read_text())["files"][
            "classifiers/rf.skops"
        ]
        (stale / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=r"rf \(off by .*refit=True"):
            BCSam.from_pretrained(stale)
        same(model, BCSam.from_pretrained(stale, refit=True))

    def test_a_model_is_refitted_in_one_call(self, model):
        again = small_model()
        again.classifiers = {"rf": again.classifiers["logistic"]}
        again.refit()
        np.testing.assert_array_equal(
            again.predict_proba(CELLS, classifier="rf"), model.predict_proba(CELLS, classifier="rf")
        )

    def test_without_xgboost_the_others_work(self, tmp_path, monkeypatch, caplog):
        model = small_model(classifiers=("logistic", "xgboost"))
        folder = model.save_pretrained(tmp_path / "model")
        monkeypatch.setitem(sys.modules, "xgboost", None)
        loaded = BCSam.from_pretrained(folder)
        assert list(loaded.classifiers) == ["logistic"]
        assert 'pip install "bc_sam[xgboost]"' in caplog.text
        with pytest.raises(BCSamError, match="would be lost"):
            loaded.save_pretrained(tmp_path / "copy")


class TestCommandLine:
    def test_push_info_and_predict(self, hub, repo_id, model, run_bc_sam, tmp_path, capsys):
        folder = model.save_pretrained(tmp_path / "model")
        assert run_bc_sam("push", folder, repo_id, "--private", "--message", "First") == 0
        assert repo_id in capsys.readouterr().out
        assert HfApi().list_repo_commits(repo_id)[0].title == "First"
        assert HfApi().model_info(repo_id).private
        assert run_bc_sam("info", repo_id) == 0
        out = capsys.readouterr().out
        assert "north, south" in out
        assert "All files match their saved checksums." in out

    def test_save_writes_a_copy_that_is_whole(self, model, run_bc_sam, tmp_path):
        folder = model.save_pretrained(tmp_path / "model")
        assert run_bc_sam("save", folder, tmp_path / "copy", "--refit", "--include-base") == 0
        same(model, BCSam.from_pretrained(tmp_path / "copy"))

    def test_a_failure_is_one_line(self, hub, repo_id, run_bc_sam, capsys):
        assert run_bc_sam("info", repo_id) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
