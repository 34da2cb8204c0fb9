"""Malicious uploads are rejected with a clear message that reveals nothing of the server, which keeps running."""

import json
import os
import struct
import sys
import zipfile
import zlib
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

ROOT = Path(__file__).parents[2]

#: What no answer may hold: a path of this machine, or a trace.
SECRETS = (str(ROOT), "/tmp/", "/usr/", "Traceback", 'File "', "site-packages")


@pytest.fixture(scope="module")
def client(public, tmp_path_factory, cell_files):
    """A client of the page; the page must still answer at the end."""
    client = Client(public, verbose=False, download_files=str(tmp_path_factory.mktemp("down")))
    yield client
    assert client.predict(handle_file(cell_files[0]), "rf", 0, 1, api_name="/name_cell")["file"] == cell_files[0].name


def refused(client, file, call="/name_cell"):
    """Sends a file and returns the error message."""
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(file) if call == "/name_cell" else [handle_file(file)], api_name=call)
    said = str(caught.value)
    assert not any(secret in said for secret in SECRETS), said
    return said


def declared_png(side):
    """A PNG of a hundred bytes that declares a huge size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_an_image_50000_pixels_wide_is_rejected_before_decoding(client, tmp_path):
    (tmp_path / "large.png").write_bytes(declared_png(50_000))
    assert "too many pixels" in refused(client, tmp_path / "large.png")


def test_among_fields_such_an_image_is_reported_without_a_server_path(client, tmp_path, field_files):
    (tmp_path / "large.png").write_bytes(declared_png(50_000))
    files = [handle_file(tmp_path / "large.png"), handle_file(field_files[1])]
    bad, good = client.predict(files, api_name="/count_fields")["cells"]
    assert "too many pixels" in bad["error"]
    assert not any(secret in bad["error"] for secret in SECRETS)
    assert good["field"] == "field2.png"


def test_an_svg_with_a_script_is_not_an_image(client, tmp_path):
    (tmp_path / "cell.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    (tmp_path / "cell.png").write_bytes((tmp_path / "cell.svg").read_bytes())
    assert "not an image of a known format" in refused(client, tmp_path / "cell.svg")
    assert "not an image of a known format" in refused(client, tmp_path / "cell.png")


def test_a_renamed_executable_is_not_an_image(client, tmp_path):
    (tmp_path / "cell.jpg").write_bytes(Path(sys.executable).resolve().read_bytes()[: 2**20])
    assert "not an image of a known format" in refused(client, tmp_path / "cell.jpg")


def test_a_zip_bomb_is_rejected_by_its_declared_size(client, tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("cell.png", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    assert "Do not trust it" in refused(client, tmp_path / "bomb.zip", "/name_slide")


def test_a_path_traversal_in_a_zip_is_rejected_and_writes_nothing(client, serve, tmp_path, cell_files):
    with zipfile.ZipFile(tmp_path / "climbs.zip", "w") as archive:
        archive.write(cell_files[0], "../../../climbed.png")
    assert "outside its folder" in refused(client, tmp_path / "climbs.zip", "/name_slide")
    assert not list(serve.uploads.parent.glob("climbed.png"))


def test_200_megabytes_are_rejected(public):
    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="cell.png"\r\n\r\n'
        for _ in range(200):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    length = sum(map(len, parts()))
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(length)}
    answer = httpx.post(f"{public}/gradio_api/upload", content=parts(), headers=headers, timeout=60)
    assert answer.status_code == 413
    assert not any(secret in answer.text for secret in SECRETS)


def test_a_total_size_above_the_limit_is_rejected_at_once(public):
    connection = HTTPConnection(public.partition("://")[2], timeout=30)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(600 * 2**20))
    connection.endheaders()
    assert connection.getresponse().status == 413  # before the body was sent


def test_a_missing_content_length_is_rejected(public):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert httpx.post(f"{public}/gradio_api/upload", content=iter([b"--x"]), headers=headers).status_code == 411


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", str(ROOT / "README.md"), str(ROOT / "bc_sam" / "space" / "page.py"), "../../../../etc/passwd"],
)
def test_a_server_path_is_not_an_upload(client, public, path):
    answer = call(public, "name_cell", [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", 0.3, 0.99, []])
    assert "root:" not in answer
    assert '"likeliest"' not in answer
    assert "event: error" in answer


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/cell.png", "https://example.org/cell.png", "file:///etc/passwd"])
def test_the_server_fetches_no_url(public, url):
    for name, wrap in (("name_cell", lambda file: file), ("name_slide", lambda file: [file])):
        file = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}
        data = [wrap(file), "", 0.3, 0.99, []]
        for route, more in ((f"call/{name}", {}), ("queue/join", {"fn_index": 0, "session_hash": "x"})):
            answer = httpx.post(f"{public}/gradio_api/{route}", json={"data": data, **more}, timeout=30)
            assert (answer.status_code, answer.text) == (400, "URLs are not accepted. Upload the file itself.")


def test_an_escaped_url_is_detected(public):
    file = rb'{"path": "http:\/\/127.0.0.1:9\/cell.png", "meta": {"_type": "gradio.FileData"}}'
    body = b'{"data": [' + file + b', "", 0.3, 1, []]}'
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{public}/gradio_api/call/name_cell", content=body, headers=headers, timeout=30)
    assert answer.status_code == 400


def call(public, name, data):
    """Calls the API over HTTP and returns the whole response."""
    started = httpx.post(f"{public}/gradio_api/call/{name}", json={"data": data}, timeout=30)
    event = started.json()["event_id"]
    said = httpx.get(f"{public}/gradio_api/call/{name}/{event}", timeout=30).text
    assert not any(secret in said.replace(json.dumps(data)[1:-1], "") for secret in SECRETS), said
    return said


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/proc/self/environ",
        str(ROOT / "README.md"),
        str(ROOT / "space" / "app.py"),
        str(ROOT / "pyproject.toml"),
        str(Path(sys.executable)),
        "../../../etc/passwd",
    ],
)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/file=", "/static/", "/assets/", "/gradio_api/stream/"])
def test_no_server_file_can_be_read(public, route, path):
    answer = httpx.get(f"{public}{route}{path}", follow_redirects=True)
    content = Path(path).read_bytes()[:200] if os.path.isfile(path) else b"root:"
    assert answer.status_code >= 400 or content not in answer.content
    assert answer.status_code >= 400 or "text/html" in answer.headers["content-type"]


def test_uploaded_markup_is_never_served_as_html(public):
    markup = {"files": ("cell.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')}
    (path,) = httpx.post(f"{public}/gradio_api/upload", files=markup).json()
    answer = httpx.get(f"{public}/gradio_api/file={path}")
    assert answer.status_code >= 400 or answer.headers["content-disposition"].startswith("attachment")
