"""Every upload has its own path and is removed once answered, whatever the answer."""

import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from files_left import files_left
from PIL import Image

from bc_sam.space.server.uploads import UPLOAD_PREFIX, stored_bytes


@pytest.fixture
def http(public):
    with httpx.Client(base_url=f"{public}/gradio_api", timeout=60) as client:
        yield client


def upload(http, *files):
    return http.post("/upload", files=[("files", file) for file in files]).json()


def ask(http, paths, *, call="name_cell", classifier="rf"):
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    sent = [files, classifier, 0, 1, [], False] if call == "name_slide" else [files[0], classifier, 0, 1, []]
    event = http.post(f"/call/{call}", json={"data": sent}).json()["event_id"]
    return http.get(f"/call/{call}/{event}").text


def vanishes(path):
    """Whether a file is removed, if only shortly after the answer."""
    end = time.monotonic() + 5
    while os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.02)
    return not os.path.exists(path)


def left(serve):
    """Uploaded files that still exist; files that Gradio creates itself are empty."""
    sizes = {}
    for path in files_left(serve.uploads):
        with suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return [path for path, size in sizes.items() if size]


def test_the_same_file_of_two_visitors_has_two_paths(http, cell_files):
    content = cell_files[0].read_bytes()
    first, second = upload(http, ("cell.png", content), ("cell.png", content))
    (third,) = upload(http, ("cell.png", content))
    assert len({first, second, third}) == 3
    assert all(Path(path).name == "cell.png" for path in (first, second, third))
    assert all(Path(path).parent.name.startswith(UPLOAD_PREFIX) for path in (first, second, third))
    assert "event: complete" in ask(http, [first])
    assert vanishes(first)
    assert "event: complete" in ask(http, [second])
    assert Path(third).read_bytes() == content


def test_a_cell_is_deleted_once_answered_and_a_second_request_reports_it(http, cell_files):
    (path,) = upload(http, (cell_files[0].name, cell_files[0].read_bytes()))
    assert cell_files[0].name in ask(http, [path])
    assert vanishes(path)
    assert not Path(path).parent.exists()
    assert "event: error" in ask(http, [path])


@pytest.mark.parametrize("call", ["name_cell", "name_slide"])
@pytest.mark.parametrize("classifier", ["rf", "no such"])
def test_invalid_files_and_requests_are_deleted_too(http, call, classifier):
    (path,) = upload(http, ("broken.png", b"no image"))
    ask(http, [path], call=call, classifier=classifier)
    assert vanishes(path)


def test_a_slide_is_deleted_once_answered(http, cell_files):
    paths = upload(http, *((file.name, file.read_bytes()) for file in cell_files))
    assert "event: complete" in ask(http, paths, call="name_slide")
    assert all(map(vanishes, paths))


def test_32_visitors_with_the_same_file_are_answered_and_no_file_remains(http, serve, cell_files):
    noise = io.BytesIO()
    Image.effect_noise((96, 96), 50).convert("RGB").save(noise, "PNG")
    before = left(serve)

    def visit(_):
        return ask(http, upload(http, ("same.png", noise.getvalue())))

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(visit, range(32)))
    said = {json.dumps(json.loads(answer.partition("event: complete\ndata: ")[2])) for answer in answers}
    assert len(said) == 1
    end = time.monotonic() + 5
    while set(left(serve)) - set(before) and time.monotonic() < end:
        time.sleep(0.05)
    assert set(left(serve)) <= set(before)


def test_gradios_own_rejections_are_passed_on(http):
    answer = http.post("/upload", content=b"nothing", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "content type" in answer.text


def test_nothing_is_stored_beside_the_uploads(http, serve, cell_files):
    (path,) = upload(http, ("alone.png", cell_files[1].read_bytes()))
    beside = [file for file in files_left(serve.uploads, "alone.png") if file != Path(path)]
    assert all(map(vanishes, beside))
    assert files_left(serve.uploads, "alone.png") == [Path(path)]


def test_the_uploads_of_all_visitors_share_one_limit(serve):
    address = serve(public=True, max_stored_bytes=stored_bytes() + 30_000)
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=60) as http:
        (first,) = upload(http, ("large.png", os.urandom(20_000)))
        refused = http.post("/upload", files={"files": ("other.png", os.urandom(20_000))})
        assert refused.status_code == 503
        assert "too many uploads of others" in refused.text
        ask(http, [first])
        assert vanishes(first)
        assert http.post("/upload", files={"files": ("other.png", os.urandom(20_000))}).status_code == 200
