"""Takes the screenshot of the page in new_hospital.md, of rendered cells: python docs/draw_page.py MODEL."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from bc_sam import load_model
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.space.page import build, launch_options
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import UploadFolder

HERE = Path(__file__).parent


def main(source: str) -> None:
    """Serves the page, drops cells on it as a visitor would, and keeps what is seen."""
    settings = PageSettings()
    with tempfile.TemporaryDirectory() as cells, UploadFolder(600), sync_playwright() as driver:
        write_rendered(Path(cells) / "new", ("munich", "tehran"), cells_per_class=4, seed=5)
        served = build(load_model(source), settings, "BC-SAM")
        _, address, _ = served.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings))
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.get_by_role("tab", name="A slide").click()
        page.locator(".bc-drop input[type=file]").nth(1).set_input_files(
            sorted(path for path in (Path(cells) / "new").rglob("*.png") if "masks" not in path.parts)
        )
        page.locator("#cells tbody tr").first.wait_for()
        keep(page, "page_slide.jpg", 1200)
        browser.close()
        served.close()


def keep(page: Page, name: str, height: int) -> None:
    """Takes the upper part of the page, as JPEG so that the file is small."""
    page.wait_for_timeout(800)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as picture:
        upper = picture.convert("RGB").crop((0, 0, picture.width, min(height, picture.height)))
    upper.save(HERE / name, quality=80, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
