"""The page in a real browser: by mouse, by keyboard, on a phone, in dark mode."""

import csv
import io
import re
import zipfile
from urllib.parse import urlsplit

import numpy as np
import pytest
from files_left import files_left
from PIL import Image

from bc_sam.config.labels import plain_name
from bc_sam.space.server.uploads import UPLOAD_PREFIX

DROP = """([field, name, bytes, kind]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: files, bubbles: true })
    : new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true });
  (kind === "paste" ? document.body : field).dispatchEvent(event);
}"""
TAB = "[role=tab][aria-selected=true]"
TABS = ("One cell", "A slide", "Laboratories", "Model")


@pytest.fixture
def visit(browser):
    """Opens the page in a separate window; finally checks that there were no errors and no requests to other hosts."""
    windows, asked, errors = [], set(), []

    def open_page(address, **options):
        window = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        windows.append(window)
        page = window.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.locator("#examples button").first.wait_for()
        return page

    yield open_page
    for window in windows:
        window.close()
    assert asked <= {"127.0.0.1", "localhost", None, ""}
    assert errors == []


@pytest.fixture
def page(visit, public):
    return visit(public)


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()


def give_cell(page, file):
    page.locator(".bc-drop input[type=file]").first.set_input_files(file)
    page.locator(".bc-file", has_text=file.name).wait_for()


def give_slide(page, files):
    open_tab(page, "A slide")
    page.locator(".bc-drop input[type=file]").nth(1).set_input_files(files)
    page.locator("#cells tbody tr").first.wait_for()


def set_slider(page, label, value):
    field = page.get_by_label(f"number input for {label}")
    field.fill(str(value))
    field.press("Enter")
    field.blur()


def name_all(page):
    """Disables abstention."""
    open_tab(page, "Model")
    set_slider(page, "Minimum probability, %", 0)
    set_slider(page, "How unusual a named cell may be, %", 100)


def likeliest(model, file, classifier="logistic"):
    (label,) = model.predict([file], classifier=classifier)
    return plain_name(label)


def verdict(page):
    return page.locator(".bc-verdict").inner_text()


class TestOneCell:
    def test_a_selected_file_gets_a_full_answer(self, page, model, cell_files):
        file = cell_files[2]  # a TIFF, which browsers cannot display
        give_cell(page, file)
        assert likeliest(model, file).lower() in verdict(page).lower()
        assert page.locator(".bc-pictures img").count() == 3
        assert page.locator(".bc-classifiers article").count() == 2
        assert page.locator(".bc-classifiers article").first.locator("li").count() == 5
        assert page.locator(".bc-answer tbody tr").count() == 5
        assert "Lymphocyte" in page.locator(".bc-answer tbody tr").first.inner_text()

    def test_similar_cells_are_shown_with_their_thumbnails_if_stored(self, page, model, cell_files):
        give_cell(page, cell_files[0])
        rows = page.locator(".bc-similar tbody tr")
        laboratories = rows.locator("td:nth-child(3)").all_inner_texts()
        assert set(laboratories) <= {"north", "south"}
        for row, laboratory in enumerate(laboratories):
            picture = rows.nth(row).locator("img")
            assert picture.count() == (laboratory == "north")
        first = rows.first.locator("img")  # the cell itself, which is stored in the model
        assert first.get_attribute("alt") == "Reference cell, basophil, laboratory north"
        assert first.evaluate("image => image.complete && image.naturalWidth") == 48

    @pytest.mark.parametrize("kind", ["drop", "paste"])
    def test_a_file_can_be_dropped_or_pasted(self, page, cell_files, kind):
        field = page.locator(".bc-drop button").first.element_handle()
        page.evaluate(DROP, [field, "mine.png", list(cell_files[0].read_bytes()), kind])
        page.locator(".bc-file", has_text="mine.png").wait_for()

    def test_an_example_can_be_selected_by_mouse_and_keyboard(self, page):
        examples = page.locator("#examples button")
        assert examples.count() == 12
        examples.nth(1).click()
        page.locator(".bc-file", has_text="eosinophil, Munich").wait_for()
        examples.nth(3).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(".bc-file", has_text="segmented neutrophil, Barcelona").wait_for()

    def test_an_unreadable_file_is_reported_and_the_next_one_is_answered(self, page, cell_files, tmp_path):
        (tmp_path / "broken.png").write_text("no image")
        page.locator(".bc-drop input[type=file]").first.set_input_files(tmp_path / "broken.png")
        alert = page.get_by_role("alert").filter(has_text="broken.png")
        alert.wait_for()
        assert "not an image of a known format" in alert.inner_text()
        assert "/" not in alert.inner_text()
        give_cell(page, cell_files[0])

    def test_an_empty_image_gets_no_guess(self, page, tmp_path):
        Image.new("RGB", (96, 96), (225, 205, 200)).save(tmp_path / "empty.png")
        give_cell(page, tmp_path / "empty.png")
        assert "shows nothing" in verdict(page)
        assert "Most likely" not in verdict(page)
        assert page.locator(".bc-pictures img").count() == 1
        assert not page.locator(".bc-classifiers").is_visible()
        page.get_by_text("Show the classifiers' output anyway").click()
        assert page.locator(".bc-classifiers article").count() == 2

    def test_a_changed_choice_reclassifies_the_same_cell(self, page, cell_files):
        name_all(page)
        open_tab(page, "One cell")
        give_cell(page, cell_files[0])
        assert "Most likely class" in verdict(page)
        open_tab(page, "Model")
        set_slider(page, "Minimum probability, %", 100)
        page.get_by_label("Classifier").click()
        page.get_by_role("option", name="Random forest").click()
        open_tab(page, "One cell")
        page.locator(".bc-verdict", has_text="Random forest").wait_for()
        assert "No name given" in verdict(page)
        assert "No class is probable enough" in verdict(page)

    def test_predictions_can_be_restricted_to_possible_labels(self, page, cell_files):
        name_all(page)
        page.locator("#labels input").click()
        for label in ("Monocyte", "Basophil"):
            page.get_by_role("option", name=label, exact=True).click()
        page.keyboard.press("Escape")
        open_tab(page, "One cell")
        for file in cell_files:
            give_cell(page, file)
            assert page.locator(".bc-name").inner_text() in ("Monocyte", "Basophil")
            assert "Possible names: monocyte, basophil." in verdict(page)
            assert page.locator(".bc-classifiers article").first.locator("li").count() == 2


class TestASlide:
    def test_cells_are_counted_corrected_and_exported(self, page, model, cell_files, tmp_path):
        name_all(page)
        (tmp_path / "broken.png").write_text("no image")
        with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
            archive.write(cell_files[3], "folder/<b>monocyte.bmp")
            archive.writestr("notes.txt", "no image")
        give_slide(page, [*cell_files[:3], tmp_path / "broken.png", tmp_path / "more.zip"])
        assert "6 of 6 images" in page.locator("#slide-notice").inner_text()
        bad = page.locator(".bc-row-unreadable")
        assert bad.count() == 2
        assert "broken.png is not an image" in bad.nth(0).inner_text()
        assert page.locator("#cells tbody th", has_text="folder/<b>monocyte.bmp").count() == 1
        assert "4 of 6 images counted" in page.locator("#count").inner_text()

        page.get_by_label(f"Name by hand for {cell_files[0].name}").select_option("Smudge cell")
        page.locator(".bc-differential", has_text="Smudge cell").wait_for()
        assert "1 by hand" in page.locator("#count").inner_text()
        page.get_by_label(f"Name by hand for {cell_files[1].name}").select_option("Not a cell")
        page.locator("#count", has_text="1 is not a cell").wait_for()

        rows = {row["file"]: row for row in csv.DictReader(io.StringIO(self.export(page, "Save as CSV")))}
        assert rows[cell_files[0].name]["name"] == "smudge_cell"
        assert rows[cell_files[1].name]["name"] == "no_cell"
        assert rows[cell_files[2].name]["name"] == model.predict([cell_files[2]])[0]
        assert "not an image" in rows["broken.png"]["error"]
        report = self.export(page, "Save printable report")
        assert "Smudge cell" in report
        assert "&lt;b&gt;monocyte.bmp" in report

    @staticmethod
    def export(page, button):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        return download.value.path().read_text()

    def test_the_table_is_sorted_filtered_and_paged(self, page, cell_files):
        name_all(page)
        give_slide(page, [file for _ in range(13) for file in cell_files])
        assert page.locator("#cells tbody tr").count() == 50
        shares = page.locator('#cells tbody [data-head="Probability"]')

        def numbers():
            return [int(re.sub(r"\D", "", text)) for text in shares.all_inner_texts()]

        statuses = page.locator("#cells tbody tr").evaluate_all("rows => rows.map((row) => row.className)")
        assert statuses == sorted(statuses, key=["bc-row-check", "bc-row-named"].index)
        named = statuses.count("bc-row-named")
        assert numbers()[-named:] == sorted(numbers()[-named:])
        page.get_by_role("button", name="Probability", exact=True).focus()
        page.keyboard.press("Enter")
        assert page.locator("#cells [aria-sort=descending]").inner_text().startswith("Probability")
        assert numbers() == sorted(numbers(), reverse=True)
        page.get_by_role("button", name="Next", exact=True).click()
        assert page.locator("#cells tbody tr").count() == 2
        page.get_by_label(re.compile("Name by hand")).first.select_option("Monocyte")
        page.get_by_role("button", name="✎ By hand 1").click()
        assert page.locator("#cells tbody tr").count() == 1

    def test_cells_for_review_come_first(self, page, cell_files):
        open_tab(page, "Model")
        set_slider(page, "Minimum probability, %", 100)
        give_slide(page, cell_files)
        assert page.locator(".bc-row-review").count() == 4
        assert not page.locator(".bc-pages").is_visible()  # four rows fit on one page
        assert "No cells counted yet" in page.locator("#count").inner_text()
        name_all(page)
        open_tab(page, "A slide")
        page.locator(".bc-row-named, .bc-row-check").nth(3).wait_for()
        assert page.locator(".bc-row-review").count() == 0

    def test_a_long_slide_shows_its_progress_and_can_be_stopped(self, page, serve, cell_files):
        open_tab(page, "A slide")
        page.locator(".bc-drop input[type=file]").nth(1).set_input_files(
            [file for _ in range(100) for file in cell_files]
        )
        page.locator(".bc-progress progress:not([value='0'])").wait_for()
        page.get_by_role("button", name="Stop").click()
        notice = page.locator(
            "#slide-notice .bc-notice", has_text="of 400 images processed"
        )  # and no progress after it
        notice.wait_for()
        done = int(re.match(r"[\d,]+", notice.inner_text())[0])
        assert 0 < done < 400
        page.get_by_role("button", name=f"All {done}", exact=True).wait_for()
        page.wait_for_timeout(2000)
        assert notice.is_visible()
        assert not [
            file
            for file in files_left(serve.uploads, cell_files[0].name)
            if file.parent.name.startswith(UPLOAD_PREFIX)
        ]

    def test_cells_are_looked_at_and_named_by_keys_and_a_name_is_undone(self, page, cell_files):
        name_all(page)
        give_slide(page, cell_files)
        page.get_by_label(f"Look at {cell_files[1].name}").click()
        large = page.locator("dialog[open]")
        assert large.locator("img").bounding_box()["width"] > 300
        page.keyboard.press("2")
        page.locator("#count", has_text="1 by hand").wait_for()
        assert "By hand: Band neutrophil" in large.inner_text()
        page.keyboard.press("u")
        page.locator("#count", has_text="0 by hand").wait_for()
        page.keyboard.press("1")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Gallery by name").click()
        group = page.locator(".bc-gallery section", has_text="Segmented neutrophil")
        assert group.get_by_label(f"Look at {cell_files[1].name}").count() == 1
        page.get_by_role("button", name="List", exact=True).click()
        page.get_by_label(f"Name by hand for {cell_files[0].name}").select_option("Giant platelet")
        page.locator("#count", has_text="2 by hand").wait_for()

    def test_a_cell_is_large_in_its_own_pixels_once_they_have_come(self, page, cell_files):
        give_slide(page, cell_files)
        page.locator("#cells .bc-look").first.click()
        picture = page.locator("dialog[open] > img")
        page.wait_for_function("() => document.querySelector('dialog[open] > img').naturalWidth === 640")
        first = picture.get_attribute("src")
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "(first) => { const image = document.querySelector('dialog[open] > img');"
            " return image.src !== first && image.naturalWidth === 640; }",
            arg=first,
        )

    def test_names_passed_through_on_the_way_are_one_correction(self, page, cell_files):
        """The keys of a closed list select each name that they pass."""
        name_all(page)
        give_slide(page, cell_files)
        choice = page.get_by_label(f"Name by hand for {cell_files[0].name}")
        choice.focus()
        for label in ("neutrophil_segmented", "neutrophil_banded", "monocyte"):
            choice.evaluate(
                "(select, label) => { select.value = label; select.dispatchEvent(new Event('change')); }", label
            )
        page.locator("#count", has_text="1 by hand").wait_for()
        page.locator(".bc-views").get_by_role("button", name="Undo").click()
        page.locator("#count", has_text="0 by hand").wait_for()
        assert choice.input_value() == ""
        assert page.locator(".bc-views").get_by_role("button", name="Undo").is_disabled()

    def test_a_request_that_is_overtaken_does_not_bring_an_earlier_name_back(self, page, cell_files):
        name_all(page)
        give_slide(page, cell_files)
        held = []

        def hold_the_first(route):
            if held:
                route.fallback()
            else:
                held.append(route)

        page.route("**/queue/join*", hold_the_first)
        choice = page.get_by_label(f"Name by hand for {cell_files[0].name}")
        choice.select_option("Monocyte")
        choice.select_option("Smudge cell")
        smudge = page.locator("#count tr", has_text="Smudge cell")
        smudge.wait_for()
        held[0].fallback()
        page.get_by_label(f"Name by hand for {cell_files[1].name}").select_option("Giant platelet")
        page.locator("#count", has_text="2 by hand").wait_for()
        assert smudge.is_visible()

    def test_in_an_unknown_laboratory_the_kinds_are_chosen_first(self, page, cell_files, tmp_path):
        files = []
        for number in range(25):  # training cells in other colours
            pixels = np.asarray(
                Image.open(cell_files[number % 4]).convert("RGB").rotate(14 * number, fillcolor="white")
            )
            files.append(tmp_path / f"{number}.png")
            Image.fromarray(np.ascontiguousarray(255 - pixels[..., ::-1])).save(files[-1])
        name_all(page)
        give_slide(page, files)
        said = page.get_by_role("alert").filter(has_text="not known to the model")
        said.wait_for()
        assert "95 % interval" not in page.locator("#count").inner_text()
        assert page.locator(".bc-row-named").count() == 0
        page.get_by_role("button", name="Five-part differential").click()
        page.locator("#count", has_text="95 % interval").wait_for()
        assert "often wrong here" not in said.locator("h3").inner_text()

    def test_a_classifier_learns_from_cells_named_by_hand_and_the_model_is_saved(self, page, cell_files, tmp_path):
        files = []
        for number in range(22):
            kind, file = number % 2, tmp_path / f"{number:02d}.png"
            turned = Image.open(cell_files[kind]).convert("RGB").rotate(14 * number, fillcolor="white")
            turned.point(lambda value: 255 - value).save(file)
            files.append(file)
        name_all(page)
        give_slide(page, files)
        learn, panel = page.locator("#adapt"), page.locator("#adaptation")
        assert learn.is_disabled()
        assert "20 more are needed" in panel.inner_text()
        page.get_by_role("button", name="★ Name first 20").click()
        assert page.locator("#cells tbody tr").count() == 20
        page.get_by_role("button", name="All 22").click()
        for number in range(20):
            kind = ("Basophil", "Eosinophil")[number % 2]
            page.get_by_label(f"Name by hand for {number:02d}.png").select_option(kind)
        panel.get_by_text("Named by hand: 10 basophil, 10 eosinophil.").wait_for()
        learn.click()
        learned = panel.get_by_text("Logistic regression, adapted to 20 cells that you named")
        learned.wait_for(timeout=90_000)  # it is fitted several times, beside other tests
        assert panel.locator("tbody tr").count() == 2
        assert page.locator(".bc-views").get_by_role("button", name="Undo").is_enabled()
        assert "20 by hand" in page.locator("#count").inner_text()  # names given by hand stay
        names = page.locator("#cells .bc-row-named b, #cells .bc-row-check b").all_inner_texts()
        assert set(names) <= {"Basophil", "Eosinophil"}
        with page.expect_download() as download:
            page.get_by_role("button", name="Save adapted model").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert "adapted/config.json" in archive.namelist()
        page.get_by_role("button", name="Use the classifier as it was").click()
        panel.get_by_role("heading", name="Adapt to this slide").wait_for()
        assert learn.is_enabled()

    def test_a_new_file_takes_the_old_answer_away(self, page, cell_files, tmp_path):
        give_cell(page, cell_files[0])
        (tmp_path / "notes.txt").write_text("no image")
        page.locator(".bc-drop input[type=file]").first.set_input_files(tmp_path / "notes.txt")
        page.locator(".bc-verdict").wait_for(state="hidden")

    def test_no_column_is_cut_on_a_tablet(self, page, cell_files):
        page.set_viewport_size({"width": 820, "height": 1180})
        give_slide(page, cell_files)
        for part in page.locator(".bc-scroll:visible").all():
            assert part.evaluate("part => part.scrollWidth - part.clientWidth") <= 0

    def test_an_unsafe_zip_is_rejected(self, page, cell_files, tmp_path):
        with zipfile.ZipFile(tmp_path / "climbs.zip", "w") as archive:
            archive.write(cell_files[0], "../../climbed.png")
        open_tab(page, "A slide")
        page.locator(".bc-drop input[type=file]").nth(1).set_input_files(tmp_path / "climbs.zip")
        page.get_by_role("alert").filter(has_text="outside its folder").wait_for()


class TestFields:
    """Photographs of many cells among the images of a slide."""

    def test_cells_are_outlined_named_removed_and_added_by_keyboard(self, page, field_files, cell_files, tmp_path):
        name_all(page)
        give_slide(page, [*field_files, cell_files[0]])
        notice = page.locator("#slide-notice").inner_text()
        assert "Taken as fields: field1.png, field2.png. Taken as a crop of one cell: basophil.png." in notice
        cells = page.locator(".bc-cell")
        assert cells.count() == 2
        assert page.locator(".bc-field-view polygon.bc-line").count() == 2
        count = page.locator("#count")
        assert "4 of 4 cells counted" in count.inner_text()

        cells.first.focus()
        page.keyboard.press("Enter")
        page.locator("select:focus").select_option("smudge_cell")  # letters make a word only within a second
        page.locator(".bc-differential", has_text="Smudge cell").wait_for()
        page.keyboard.press("Escape")
        assert cells.first.inner_text() == "Smudge cell"
        assert page.get_by_label("Name by hand for field1.png, cell 1").input_value() == "smudge_cell"

        page.keyboard.press("Tab")  # from the first cell to the second
        page.keyboard.press("Delete")
        count.get_by_text("1 is not a cell").wait_for()
        assert "removed" in cells.nth(1).inner_text()
        page.keyboard.press("u")
        count.get_by_text("4 of 4 cells counted").wait_for()

        page.get_by_role("button", name="Add a missed cell").focus()
        page.keyboard.press("Enter")
        for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp", "Shift+ArrowUp"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        count.get_by_text("of 5 cells counted").wait_for()
        assert cells.count() == 3
        assert "field1.png, cell 3 was added" in page.locator(".bc-field-said").inner_text()
        page.locator(".bc-field-undo").click()
        count.get_by_text("of 4 cells counted").wait_for()
        assert cells.count() == 2

        page.get_by_role("button", name="Next", exact=True).first.click()
        page.locator(".bc-field-count", has_text="field2.png: 1 white cell").wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save CSV and crops of the fields").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            rows = list(csv.DictReader(io.TextIOWrapper(archive.open("cells.csv"))))
            crops = [row["file"] for row in rows if row["field"]]
            assert {*crops, "cells.csv"} == set(archive.namelist())
        assert [row["field"] for row in rows] == ["", "field1.png", "field1.png", "field2.png"]
        assert (rows[1]["name"], rows[1]["given_by"]) == ("smudge_cell", "hand")

    def test_a_missed_cell_is_added_by_a_click_on_a_phone(self, visit, public, field_files):
        page = visit(public, is_mobile=True, has_touch=True)
        page.set_viewport_size({"width": 390, "height": 844})
        give_slide(page, field_files[:1])
        page.get_by_role("button", name="Add a missed cell").click()
        box = page.locator(".bc-field-view").bounding_box()
        page.locator(".bc-field-view").click(position={"x": 0.85 * box["width"], "y": 0.2 * box["height"]})
        page.locator(".bc-field-said", has_text="cell 3 was added").wait_for()
        left, top, width, height = (
            page.locator(".bc-cell").nth(2).bounding_box()[edge] for edge in ("x", "y", "width", "height")
        )
        view = page.locator(".bc-field-view").bounding_box()
        assert (left + width / 2 - view["x"]) / view["width"] == pytest.approx(0.85, abs=0.06)
        assert (top + height / 2 - view["y"]) / view["height"] == pytest.approx(0.2, abs=0.06)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def test_a_field_that_cannot_be_searched_has_a_reason(self, page, tmp_path):
        Image.new("RGB", (1000, 1000), (235, 230, 228)).save(tmp_path / "empty.png")
        open_tab(page, "A slide")
        page.locator(".bc-drop input[type=file]").nth(1).set_input_files(tmp_path / "empty.png")
        page.locator(".bc-field-problem", has_text="The scale could not be measured").wait_for()
        assert not page.get_by_role("button", name="Add a missed cell").is_visible()
        assert "No cells counted yet" in page.locator("#count").inner_text()


class TestLaboratories:
    def test_the_map_shows_the_visitors_cells(self, page, cell_files):
        give_cell(page, cell_files[0])
        give_slide(page, cell_files)
        open_tab(page, "Laboratories")
        page.locator(".bc-map").first.wait_for()
        assert page.locator(".bc-map").count() == 2
        assert page.locator(".bc-map").first.locator(".bc-own").count() == 5
        assert page.locator(".bc-map").first.locator(".bc-legend li").count() == 4
        assert "Accuracy, %" in page.locator("#laboratories").inner_text()
        page.get_by_role("button", name="Model card").click()
        page.locator("#card", has_text="Intended use").wait_for()


class TestModel:
    def test_a_private_page_can_load_a_folder(self, visit, serve, cell_files, tmp_path):
        from small_model import small_model

        folder = small_model(3, classifiers=("rf",)).save_pretrained(tmp_path / "other")
        page = visit(serve(public=False))
        give_cell(page, cell_files[0])
        open_tab(page, "Model")
        page.get_by_label("Model", exact=False).first.wait_for()
        page.locator("#source input, #source textarea").fill(str(folder))
        page.keyboard.press("Enter")
        page.locator("#model-notice", has_text="other is loaded").wait_for()
        assert "Random forest" in page.locator("#facts").inner_text()
        open_tab(page, "One cell")
        page.locator("#answer", has_text="The answer appears here").wait_for()
        give_cell(page, cell_files[0])
        assert page.locator(".bc-classifiers article").count() == 1

    def test_a_public_page_cannot_load_a_folder(self, page, tmp_path):
        open_tab(page, "Model")
        for source in (str(tmp_path), "no-such/model"):
            page.locator("#source input, #source textarea").fill(source)
            page.get_by_role("button", name="Load this model").click()
            page.locator("#model-notice [role=alert]").wait_for()
        assert "small-model" in page.locator("#facts").inner_text()

    def test_choices_of_visitors_are_independent(self, visit, public, cell_files):
        first, second = visit(public), visit(public)
        open_tab(first, "Model")
        set_slider(first, "Minimum probability, %", 100)
        open_tab(first, "One cell")
        for page in (first, second):
            give_cell(page, cell_files[0])
        first.locator(".bc-verdict", has_text="100 % are required").wait_for()
        assert "100 % are required" not in verdict(second)


class TestLook:
    def test_it_is_marked_as_research_software(self, page):
        assert "Not a medical device" in page.locator("#warning").inner_text()

    def test_every_tab_is_as_wide_as_the_page_allows(self, page):
        for name in TABS:
            open_tab(page, name)
            page.wait_for_timeout(300)
            assert page.locator("#warning").bounding_box()["width"] == pytest.approx(1056, abs=40), name

    def test_tabs_can_be_switched_by_keyboard(self, page):
        page.get_by_role("tab", name="One cell").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.get_by_role("tab", name="A slide").get_attribute("aria-selected") == "true"

    def test_nothing_overflows_on_a_phone(self, visit, public, cell_files):
        page = visit(public, is_mobile=True, has_touch=True)
        page.set_viewport_size({"width": 390, "height": 844})
        give_cell(page, cell_files[0])
        give_slide(page, cell_files)
        for name in TABS:
            open_tab(page, name)
            page.wait_for_timeout(400)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name

    def test_on_paper_there_is_the_answer_and_nothing_to_click(self, visit, public, cell_files):
        page = visit(f"{public}/?__theme=dark", color_scheme="dark")
        give_cell(page, cell_files[0])
        page.emulate_media(media="print")
        assert page.locator(".bc-verdict").is_visible()
        assert page.locator(".bc-drop:visible, [role=tab]:visible, #examples:visible, footer:visible").count() == 0
        ink = page.locator(".bc-verdict .bc-name").evaluate("name => getComputedStyle(name).color")
        assert ink == "rgb(29, 39, 51)"  # also of a page with dark colours
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.emulate_media(media="screen")
        give_slide(page, cell_files)
        page.emulate_media(media="print")
        assert page.locator("#count .bc-count").is_visible()
        assert page.locator("#cells tbody tr").count() == len(cell_files)
        assert page.locator("#cells select:visible, #exports button:visible, .bc-filters:visible").count() == 0

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_has_enough_contrast_in_light_and_dark_mode(self, visit, public, cell_files, scheme):
        page = visit(f"{public}/?__theme={scheme}", color_scheme=scheme)
        give_cell(page, cell_files[0])
        for selector in (".bc-name", ".bc-sub", ".bc-number", ".bc-answer td", ".bc-note", "#warning p", TAB):
            assert page.evaluate(CONTRAST, selector) >= 4.5, selector

    def test_every_image_and_field_has_an_accessible_name(self, page, cell_files):
        give_cell(page, cell_files[0])
        give_slide(page, cell_files)
        assert page.locator("img:not([alt])").count() == 0
        assert page.locator("#cells select:not([aria-label])").count() == 0


# WCAG 2.1 contrast ratio between the text of an element and its background.
CONTRAST = """(selector) => {
  const parse = (colour) => { const n = colour.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  let behind = element;
  while (behind && parse(getComputedStyle(behind).backgroundColor)[3] < 1) behind = behind.parentElement;
  const colours = [parse(getComputedStyle(element).color),
                   behind ? parse(getComputedStyle(behind).backgroundColor) : [255, 255, 255, 1]].map(light);
  return (Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05);
}"""
