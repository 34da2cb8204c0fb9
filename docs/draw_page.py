"""Takes the screenshot of the page with a rendered field: python docs/draw_page.py MODEL."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from bc_sam import load_model, load_rendered
from bc_sam.space.page import build, launch_options
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import UploadFolder

HERE = Path(__file__).parent


def main(source: str) -> None:
    """Serves the page, uploads cells as a visitor would, and saves a screenshot."""
    settings = PageSettings()
    with tempfile.TemporaryDirectory() as cells, UploadFolder(600), sync_playwright() as driver:
        draw_field().save(Path(cells) / "field.png")
        served = build(load_model(source), settings, "BC-SAM")
        _, address, _ = served.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings))
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.get_by_role("tab", name="A slide").click()
        page.locator(".bc-drop input[type=file]").nth(1).set_input_files(Path(cells) / "field.png")
        page.locator("#cells tbody tr").first.wait_for()
        save_screenshot(page, "page_slide.jpg", 2260)
        browser.close()
        served.close()


def draw_field() -> Image.Image:
    """Draws a field: rendered cells of one laboratory, the stain of whose margins adds up where they overlap."""
    pixels = [
        np.asarray(image, np.float64) for image in load_rendered("barcelona", cells_per_class=1, seed=5)["image"]
    ]
    rows, columns, step = 3, 4, 190
    side = len(pixels[0])
    glass = np.percentile(np.concatenate([image.reshape(-1, 3) for image in pixels]), 99, axis=0)
    ramp = np.clip(np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / 20, 0, 1)
    density = np.zeros((step * (rows - 1) + side, step * (columns - 1) + side, 3))
    for index, image in enumerate(pixels[: rows * columns]):
        top, left = step * (index // columns), step * (index % columns)
        stain = -np.log(np.clip(image / glass, 0.01, 1))
        density[top : top + side, left : left + side] += stain * np.outer(ramp, ramp)[..., None]
    return Image.fromarray(np.clip(glass * np.exp(-density), 0, 255).astype(np.uint8))


def save_screenshot(page: Page, name: str, height: int) -> None:
    """Saves the top of the page, as JPEG to keep the file small."""
    page.wait_for_timeout(800)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        top = image.convert("RGB").crop((0, 0, image.width, min(height, image.height)))
    top.save(HERE / name, quality=80, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
