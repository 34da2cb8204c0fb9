"""The page: a photograph of one cell in, its outline and its likeliest names out."""

import os
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from bc_sam import BCSam, BCSamError
from bc_sam.images import read_image

HERE = Path(__file__).parent

#: Where the outline is drawn.
YELLOW = (255, 212, 0)


def build(model: BCSam) -> gr.Blocks:
    """Lays out the page for a model."""

    def name_cell(file: str | None) -> tuple[Image.Image, dict[str, float]]:
        """Returns the picture with the outline, and the probability of each class."""
        if file is None:
            raise gr.Error("Choose an image first.")
        try:
            image = read_image(file)
            (mask,) = model.segment([image])
            guesses = model(image, top_k=5)
        except BCSamError as error:
            raise gr.Error(str(error).replace(file, Path(file).name)) from error
        return outlined(image, mask), {guess["label"].replace("_", " "): guess["score"] for guess in guesses}

    with gr.Blocks(title="BC-SAM") as page:
        gr.Markdown("# Which blood cell is it?\n\nResearch software. **Not a medical device**, not for diagnosis.")
        with gr.Row():
            with gr.Column():
                file = gr.File(label="One cell: JPEG, PNG, TIFF or BMP", file_types=["image"], type="filepath")
                button = gr.Button("Name it", variant="primary")
            with gr.Column():
                picture = gr.Image(label="What was taken for the cell", interactive=False, format="png")
                names = gr.Label(label="Likeliest names", num_top_classes=5)
        button.click(name_cell, file, [picture, names], api_name="name_cell")
        file.upload(name_cell, file, [picture, names], api_name=False)
    return page


def outlined(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """Draws the border of a mask (height, width) on an image of that size."""
    inside = np.pad(mask, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    pixels = np.array(image)
    pixels[mask & ~core] = YELLOW
    return Image.fromarray(pixels)


def main() -> None:
    """Loads the model and serves the page."""
    source = os.environ.get("BC_SAM_MODEL") or HERE / "model"
    build(BCSam.from_pretrained(source)).queue().launch(max_file_size="20mb", show_error=True)


if __name__ == "__main__":
    main()
