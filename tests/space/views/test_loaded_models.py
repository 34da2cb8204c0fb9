"""Visitors' models are loaded once, a few at a time, and never with the owner's token."""

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest
from huggingface_hub import HfApi
from small_model import small_model

from bc_sam.errors import BCSamError, ConfigError, HubError
from bc_sam.space.server import gpu
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.tabs.controls import Controls, checked_choice
from bc_sam.space.views import loaded_models as models_module
from bc_sam.space.views.loaded_models import LoadedModel, Models


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [small_model(seed).save_pretrained(folder / f"model_{seed}") for seed in range(3)]


def models(model, **changes):
    return Models(LoadedModel("own", model), PageSettings(**changes))


def test_an_empty_source_is_the_default_model(model):
    cache = models(model)
    assert cache.get("") is cache.get(" own ") is cache.own


def test_concurrent_requests_load_a_model_once(model, folders, monkeypatch):
    loads = []
    load = Models._load
    monkeypatch.setattr(Models, "_load", lambda self, source: loads.append(source) or load(self, source))
    cache, got = models(model), []
    threads = [threading.Thread(target=lambda: got.append(cache.get(str(folders[0])))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [str(folders[0])]
    assert len(set(map(id, got))) == 1
    assert got[0].name == "model_0"


def test_one_thread_serves_all_visitors(model, monkeypatch):
    workers = set()

    def look(model, batch):
        workers.add(threading.get_ident())
        if batch == "third":
            raise BCSamError("not this one")
        return batch

    monkeypatch.setattr(models_module, "inspect_batch", look)
    loaded = LoadedModel("own", model)
    with ThreadPoolExecutor(4) as visitors:
        batches = "first", "second", "third", "fourth"
        asked = [visitors.submit(lambda batch: (loaded.inspect(batch), threading.get_ident()), one) for one in batches]
    answers = [one.result() for one in asked if not one.exception()]
    assert [answer for answer, _ in answers] == ["first", "second", "fourth"]
    assert str(asked[2].exception()) == "not this one"
    assert len(workers) == 1
    assert workers.isdisjoint(visitor for _, visitor in answers)


def test_a_model_with_restricted_labels_offers_only_these():
    few = small_model(0)
    few.restrict_labels(["monocyte", "basophil"])
    labels = Controls.create(LoadedModel("few", few)).labels
    assert labels.value == ["basophil", "monocyte"]
    assert [label for _, label in labels.choices] == labels.value
    with pytest.raises(gr.Error, match="labels out of basophil, monocyte"):
        checked_choice(LoadedModel("few", few), "", 0, 1, ["eosinophil"])


def test_the_least_recently_used_model_is_evicted(model, folders):
    cache = models(model, models=3)
    first, second = (cache.get(str(folder)) for folder in folders[:2])
    assert cache.get(str(folders[0])) is first
    cache.get(str(folders[2]))
    assert cache.get(str(folders[0])) is first
    assert cache.get(str(folders[1])) is not second


def test_a_public_page_loads_no_folder(model, folders):
    for source in (folders[0], folders[0].parent / ".." / folders[0].parent.name / "model_0", "/etc", "~", "."):
        with pytest.raises(ConfigError, match="Hub"):
            models(model, public=True).get(str(source))


def test_a_folder_that_looks_like_a_hub_id_is_not_loaded(model, folders, monkeypatch):
    monkeypatch.chdir(folders[0].parents[1])
    with pytest.raises(ConfigError, match="Hub"):
        models(model, public=True).get(f"{folders[0].parent.name}/model_0")


def test_a_public_page_loads_public_models_and_removes_the_download(hub, repo_id, model, folders):
    small_model(1).push_to_hub(repo_id)
    cache = models(model, public=True, models=2)
    loaded = cache.get(repo_id)
    files = loaded.files.path
    assert loaded.name == repo_id
    assert loaded.model.labels == model.labels
    other = repo_id + "-2"
    small_model(2).push_to_hub(other)
    cache.get(other)
    del loaded
    gc.collect()
    assert not files.exists()


def test_the_owners_private_models_are_hidden_from_visitors(hub, repo_id, model):
    small_model(1).push_to_hub(repo_id, private=True)
    assert models(model).get(repo_id).name == repo_id  # allowed on a private page
    with pytest.raises(BCSamError, match="no repository"):
        models(model, public=True).get(repo_id)


def test_an_oversized_model_is_rejected_before_downloading(hub, repo_id, model):
    small_model(1).push_to_hub(repo_id)
    hub.log()
    with pytest.raises(ConfigError, match="loads up to"):
        models(model, public=True, max_model_bytes=1000).get(repo_id)
    assert not downloads(hub)


def test_the_limit_of_a_model_counts_every_file_that_would_be_downloaded(hub, repo_id, model):
    small_model(1).push_to_hub(repo_id)
    HfApi().upload_file(path_or_fileobj=bytes(9 * 2**20), path_in_repo="figures/large.txt", repo_id=repo_id)
    HfApi().upload_file(path_or_fileobj=bytes(9 * 2**20), path_in_repo="of_others.txt", repo_id=repo_id)
    hub.log()
    with pytest.raises(ConfigError, match="loads up to"):
        models(model, public=True, max_model_bytes=9 * 2**20).get(repo_id)
    assert not downloads(hub)
    assert models(model, public=True, max_model_bytes=18 * 2**20).get(repo_id).name == repo_id


def downloads(hub):
    return [call["line"] for call in hub.log() if "/resolve/" in call["line"]]


@pytest.fixture
def stuck(hub, repo_id, model, monkeypatch):
    """Asks for a model of a Hub that does not answer, and returns the cache and the request."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 5)
    hub.fault({"match": "GET /api/models", "delay": 3600, "times": 100})
    with ThreadPoolExecutor() as pool:

        def ask(**changes):
            cache = models(model, **changes)
            asked = pool.submit(cache.get, repo_id)
            while not any(call["line"].startswith("GET /api/models") for call in hub.log(clear=False)):
                pass
            return cache, asked

        yield ask


def test_a_model_that_does_not_arrive_keeps_nobody_else_waiting(stuck, folders):
    cache, asked = stuck()
    assert cache.get(str(folders[0])).name == "model_0"
    assert not asked.done()
    with pytest.raises(HubError, match="did not answer"):
        asked.result()


def test_a_visitor_does_not_wait_for_ever(stuck):
    _, asked = stuck(load_seconds=0.1)
    with pytest.raises(HubError, match=r"is not loaded after 0\.1 seconds"):
        asked.result()


def test_only_a_few_models_are_loaded_at_once(stuck, folders):
    cache, _ = stuck(models=1, load_seconds=0.1)  # the load itself goes on
    with pytest.raises(HubError, match="Other models are being loaded"):
        cache.get(str(folders[0]))


def test_a_model_that_could_not_be_loaded_can_be_asked_for_again(model, tmp_path):
    cache = models(model)
    with pytest.raises(BCSamError, match="There is no folder"):
        cache.get(str(tmp_path / "late"))
    small_model(1).save_pretrained(tmp_path / "late")
    assert cache.get(str(tmp_path / "late")).name == "late"


def test_a_repository_without_a_model_is_rejected(hub, repo_id, model):
    HfApi().create_repo(repo_id)
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=repo_id)
    with pytest.raises(BCSamError):
        models(model).get(repo_id)
    with pytest.raises(BCSamError) as caught:
        models(model, public=True).get(repo_id)
    assert str(caught.value).startswith(f"{repo_id}/config.json")


def test_the_card_is_rendered_from_the_evaluation(model):
    card = LoadedModel("own", model).card
    assert card.startswith("\n# own")
    assert "not a medical device" in card


def test_without_zero_gpu_functions_are_unchanged():
    def work():
        return 1

    assert gpu.on_gpu(seconds=5)(work) is work


def test_on_zero_gpu_functions_request_a_gpu(monkeypatch):
    asked = []
    lent = SimpleNamespace(GPU=lambda duration: lambda function: asked.append(duration) or function)
    monkeypatch.setitem(sys.modules, "spaces", lent)
    monkeypatch.setattr(gpu, "ON_ZERO_GPU", True)
    assert gpu.on_gpu(seconds=5)(len) is len
    assert asked == [5]
