"""Takes the screenshot of the page with rendered cells in new_hospital.md: python docs/draw_page.py MODEL."""

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
    """Serves the page, uploads cells as a visitor would, and saves a screenshot."""
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
        save_screenshot(page, "page_slide.jpg", 1200)
        browser.close()
        served.close()


def save_screenshot(page: Page, name: str, height: int) -> None:
    """Saves the top of the page, as JPEG to keep the file small."""
    page.wait_for_timeout(800)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        top = image.convert("RGB").crop((0, 0, image.width, min(height, image.height)))
    top.save(HERE / name, quality=80, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
