"""The API: correct answers, also for 32 concurrent clients, and clear errors."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

CLIENTS = 32


@pytest.fixture(scope="module")
def client(public, tmp_path_factory):
    return Client(public, verbose=False, download_files=str(tmp_path_factory.mktemp("down")))


def expected(model, file, classifier="rf"):
    (row,) = model.predict_proba([file], classifier=classifier)
    return model.labels[row.argmax()], pytest.approx(row.max(), abs=1e-4)


def test_only_the_documented_endpoints_exist(client):
    calls = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(calls) == {"/name_cell", "/name_slide", "/count_fields"}
    for call, described in calls.items():
        names = [parameter["parameter_name"] for parameter in described["parameters"]]
        assert names[1:] == [
            "classifier",
            "least_probability",
            "most_ood",
            "labels",
            *(["count_all"] if call != "/name_cell" else []),
            *(["microns_per_pixel"] if call == "/count_fields" else []),
        ]
        assert all(parameter["parameter_has_default"] for parameter in described["parameters"][1:])


def test_a_cell_gets_the_prediction_of_the_model(client, model, cell_files):
    for file in cell_files:
        answer = client.predict(handle_file(file), "rf", 0, 1, api_name="/name_cell")
        assert (answer["name"], answer["probability"]) == expected(model, file)
        assert answer["file"] == file.name
        assert set(answer["classifiers"]) == {"rf", "logistic"}
        assert sum(answer["classifiers"]["rf"].values()) == pytest.approx(1, abs=1e-4)
        assert answer["similar"][0]["label"] == file.stem  # the cell itself is stored in the model
        assert answer["similar"][0]["laboratory"] == "north"
        assert 0 <= answer["ood"] <= 1


def test_the_classifier_and_the_thresholds_have_defaults(client, model, cell_files):
    answer = client.predict(file=handle_file(cell_files[0]), api_name="/name_cell")
    assert (answer["likeliest"], answer["probability"]) == expected(model, cell_files[0], "logistic")


def test_predictions_may_be_restricted_to_some_labels(client, model, cell_files):
    labels = ["monocyte", "basophil"]
    for file in cell_files:
        answer = client.predict(file=handle_file(file), labels=labels, least_probability=0, api_name="/name_cell")
        assert answer["likeliest"] in labels
        assert sum(answer["classifiers"]["rf"][label] for label in labels) == pytest.approx(1, abs=1e-4)
    slide = client.predict(files=[handle_file(file) for file in cell_files], labels=labels, api_name="/name_slide")
    assert {cell["likeliest"] for cell in slide["cells"]} <= set(labels)


def test_below_the_minimum_probability_no_name_is_given(client, cell_files):
    answer = client.predict(handle_file(cell_files[0]), "logistic", 1, 1, api_name="/name_cell")
    assert answer["name"] is None
    assert "probable enough" in answer["reasons"][0]


def test_a_slide_is_counted(client, model, cell_files, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    files = [handle_file(file) for file in (*cell_files, tmp_path / "broken.png")]
    slide = client.predict(files, "rf", 0, 1, api_name="/name_slide")
    names = model.predict(cell_files, classifier="rf")
    assert [cell.get("name") for cell in slide["cells"]] == [*names, None]
    assert slide["cells"][-1]["error"].startswith("broken.png is not an image")
    counted = {line["label"]: line["count"] for line in slide["count"] if line["count"]}
    assert counted == {name: names.count(name) for name in names}
    assert slide["laboratory"]["known"] is None  # four cells tell nothing
    assert all(line["low"] <= line["share"] <= line["high"] for line in slide["count"])


def test_the_cells_of_fields_are_counted(client, field_files, cell_files, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    Image.new("RGB", (400, 400), (235, 230, 228)).save(tmp_path / "empty.png")
    files = [handle_file(file) for file in (*field_files, tmp_path / "broken.png", tmp_path / "empty.png")]
    answer = client.predict(files, "rf", 0, 1, api_name="/count_fields")
    fields = {field["field"]: field for field in answer["fields"]}
    assert [fields[file.name]["cells"] for file in field_files] == [2, 1]
    assert fields["field1.png"]["red_cells"] == pytest.approx(14, abs=2)
    assert fields["field1.png"]["microns_per_pixel"] == pytest.approx(7.5 / 60, rel=0.05)
    assert (fields["empty.png"]["cells"], fields["field1.png"]["problem"]) == (0, "")
    assert "Neither white nor red cells were found" in fields["empty.png"]["problem"]
    cells = [cell for cell in answer["cells"] if "field" in cell]
    assert [cell["field"] for cell in cells] == ["field1.png", "field1.png", "field2.png"]
    left, top, right, bottom = cells[0]["box"]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((144, 144), abs=20)
    assert {"name", "probability", "reasons"} <= set(cells[0])
    (bad,) = (cell for cell in answer["cells"] if "file" in cell)
    assert bad["error"].startswith("broken.png is not an image")
    assert sum(line["count"] for line in answer["count"] if not line["part_of"]) == 3


def test_the_pixel_size_of_fields_is_checked(client, field_files):
    for size, said in (("large", "must be a number"), (True, "must be a number"), (5, "between 0.02 and 0.6")):
        with pytest.raises(AppError, match=said):
            client.predict([handle_file(field_files[0])], microns_per_pixel=size, api_name="/count_fields")
    with pytest.raises(AppError, match="No files were given"):
        client.predict(None, api_name="/count_fields")


def test_invalid_requests_are_explained(client, cell_files):
    with pytest.raises(AppError, match=r"Unknown classifier\. Choose one of logistic, rf"):
        client.predict(handle_file(cell_files[0]), "knn", api_name="/name_cell")
    for labels in (["monocytes"], "monocyte", {"monocyte": 1}, 3):
        with pytest.raises(AppError, match="Give a list of labels out of basophil,"):
            client.predict(handle_file(cell_files[0]), labels=labels, api_name="/name_cell")
    for number in (None, "many", 50, -1, True, [0.5]):
        with pytest.raises(AppError, match="least_probability must be a number from 0 to 1"):
            client.predict(handle_file(cell_files[0]), least_probability=number, api_name="/name_cell")
        with pytest.raises(AppError, match="most_ood must be a number from 0 to 1"):
            client.predict([handle_file(cell_files[0])], most_ood=number, api_name="/name_slide")
    with pytest.raises(AppError, match="No file was given"):
        client.predict(None, api_name="/name_cell")


def test_32_clients_at_once_get_their_own_answers(public, model, cell_files, tmp_path):
    """Each client sends its own image, so that mixed-up answers are detected."""
    files = []
    for number in range(CLIENTS):
        image = Image.open(cell_files[number % len(cell_files)]).convert("RGB").rotate(11 * number)
        image.save(tmp_path / f"{number}.png")
        files.append(tmp_path / f"{number}.png")

    def ask(file):
        with httpx.Client(base_url=f"{public}/gradio_api", timeout=120) as http:
            (path,) = http.post("/upload", files={"files": (file.name, file.read_bytes())}).json()
            sent = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "rf", 0, 1, []]
            event = http.post("/call/name_cell", json={"data": sent}).json()["event_id"]
            said = http.get(f"/call/name_cell/{event}").text
        return json.loads(said.partition("event: complete\ndata: ")[2])[0]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(ask, files))
    for file, answer in zip(files, answers, strict=True):
        assert answer["file"] == file.name
        assert (answer["likeliest"], answer["probability"]) == expected(model, file)
