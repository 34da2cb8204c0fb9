"""The page: a photograph of one cell in, its outline and its likeliest names out."""

import os
import sys
from pathlib import Path

import gradio as gr
import numpy as np
from huggingface_hub import RepoCard
from PIL import Image

from bc_sam import LABELS, BCSam, BCSamError, load_rendered
from bc_sam.images import read_image

HERE = Path(__file__).parent

#: Where the outline is drawn.
YELLOW = (255, 212, 0)

#: What is shown to try: drawn cells of these classes, as two laboratories would photograph them.
EXAMPLES = ("basophil", "eosinophil", "monocyte")


def model_source() -> str:
    """Returns what to load: what ``BC_SAM_MODEL`` says, else the folder ``model``, else what the card names."""
    if os.environ.get("BC_SAM_MODEL"):
        return os.environ["BC_SAM_MODEL"]
    if (HERE / "model").is_dir():
        return str(HERE / "model")
    named = RepoCard.load(HERE / "README.md").data.get("models")
    if not named:
        sys.exit("error: There is no model. Set BC_SAM_MODEL to a model folder, a run folder or a Hub id.")
    return named[0]


def build(model: BCSam) -> gr.Blocks:
    """Lays out the page for a model."""
    examples = rendered_cells()

    def name_cell(file: str | None) -> tuple[Image.Image, dict[str, float]]:
        """Returns the picture with the outline, and the probability of each of the five likeliest classes."""
        if file is None:
            raise gr.Error("Choose an image first.", print_exception=False)
        try:
            return look_at(model, read_image(file))
        except BCSamError as error:
            raise gr.Error(str(error).replace(file, Path(file).name), print_exception=False) from error

    def name_example(event: gr.SelectData) -> tuple[Image.Image, dict[str, float]]:
        return look_at(model, examples[event.index][0])

    with gr.Blocks(title="BC-SAM") as page:
        gr.Markdown("# Which blood cell is it?\n\nResearch software. **Not a medical device**, not for diagnosis.")
        with gr.Row():
            with gr.Column():
                file = gr.File(label="One cell: JPEG, PNG, TIFF or BMP", file_types=["image"], type="filepath")
                button = gr.Button("Name it", variant="primary")
                drawn = gr.Gallery(
                    examples,
                    format="png",
                    label="Or a drawn one, as two laboratories would show it",
                    columns=3,
                    height="auto",
                    allow_preview=False,
                    buttons=[],
                )
            with gr.Column():
                picture = gr.Image(label="What was taken for the cell", interactive=False, format="png")
                names = gr.Label(label="Likeliest names", num_top_classes=5)
        outputs = [picture, names]
        button.click(name_cell, file, outputs, api_name="name_cell", concurrency_id="model")
        file.upload(name_cell, file, outputs, api_visibility="private", concurrency_id="model")
        drawn.select(name_example, None, outputs, api_visibility="private", concurrency_id="model")
    return page


def look_at(model: BCSam, image: Image.Image) -> tuple[Image.Image, dict[str, float]]:
    """Returns the image with the outline of its cell, and the likeliest names."""
    (mask,) = model.segment([image])
    guesses = model(image, top_k=5)
    return outlined(image, mask), {guess["label"].replace("_", " "): guess["score"] for guess in guesses}


def outlined(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """Draws the border of a mask (height, width) on an image of that size."""
    inside = np.pad(mask, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    pixels = np.array(image)
    pixels[mask & ~core] = YELLOW
    return Image.fromarray(pixels)


def rendered_cells() -> list[tuple[Image.Image, str]]:
    """Draws the examples, each with what it shows."""
    return [
        (cell["image"], LABELS[cell["label"]])
        for laboratory in ("munich", "barcelona")
        for cell in load_rendered(laboratory, cells_per_class=1, labels=EXAMPLES)
    ]


def main() -> None:
    """Loads the model and serves the page."""
    build(BCSam.from_pretrained(model_source())).queue().launch(max_file_size="20mb", show_error=True)


if __name__ == "__main__":
    main()
