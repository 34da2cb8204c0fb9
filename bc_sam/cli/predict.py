"""Commands that look at cells: predict, embed, attention.

Each finds the cells first and then loads the heavy libraries, so that a wrong path is said at once.
"""

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import Among, BatchSize, Cells, Classifier, Dtype, ModelOption, Revision, read_labels
from bc_sam.utils.hub import EMBEDDED_MODEL


@app.command(rich_help_panel="Cells")
def predict(
    cells: Cells,
    model: ModelOption = EMBEDDED_MODEL,
    classifier: Classifier = None,
    among: Among = None,
    csv: Annotated[Path | None, typer.Option(help="Also write all probabilities to this CSV file.")] = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    dtype: Dtype = "auto",
) -> None:
    """Names cells: label, probability and second guess for each image, and a differential count.

    An image that cannot be read is named at the end and does not stop the others.
    """
    from bc_sam.data.inputs import find_cells

    found = find_cells(cells)

    from tqdm import tqdm

    from bc_sam.cli.output import CsvTable, describe, render_differential
    from bc_sam.models.bc_sam import BCSam
    from bc_sam.networks.sam.compiling import WORTH_COMPILING

    loaded = BCSam.from_pretrained(model, revision=revision, dtype=dtype, classifiers=[classifier or "default"])
    if among:
        loaded.choose_among(read_labels(among))
    if len(found) >= WORTH_COMPILING:
        loaded.compile(batch_size)
    predictions = loaded.stream(found.images, classifier=classifier, batch_size=batch_size)
    counts: Counter[str] = Counter()
    errors = []
    with csv.open("w", newline="") if csv else nullcontext() as file:
        table = CsvTable(file, loaded.labels) if file else None
        progress = tqdm(predictions, total=len(found), unit="cell", disable=len(found) == 1)
        for name, prediction in zip(found.names, progress, strict=True):
            tqdm.write(describe(name, prediction, loaded.labels), file=sys.stdout)
            if table:
                table.add(name, prediction)
            if prediction.error is not None:
                errors.append(f"{name}: {prediction.error}")
            elif prediction.label is not None:
                counts[prediction.label] += 1
    if counts.total() > 1:
        print(f"\n{render_differential(counts)}")
    for error in errors:
        print(f"not read: {error}", file=sys.stderr)
    if not counts:
        raise typer.Exit(1)


@app.command(rich_help_panel="Cells")
def embed(
    cells: Cells,
    out: Annotated[Path, typer.Option(help="NumPy archive (.npz) to write: files (n,) and latents (n, d).")],
    model: ModelOption = EMBEDDED_MODEL,
    revision: Revision = None,
    batch_size: BatchSize = None,
    dtype: Dtype = "auto",
) -> None:
    """Writes the latent of each cell: the numbers that the classifiers see."""
    from bc_sam.data.inputs import find_cells

    found = find_cells(cells)

    import numpy as np
    from tqdm import tqdm

    from bc_sam.models.bc_sam import BCSam
    from bc_sam.networks.sam.compiling import WORTH_COMPILING

    loaded = BCSam.from_pretrained(model, revision=revision, dtype=dtype, classifiers=["default"])
    if len(found) >= WORTH_COMPILING:
        loaded.compile(batch_size)
    files, latents = [], []
    predictions = loaded.stream(found.images, batch_size=batch_size)
    for name, prediction in zip(found.names, tqdm(predictions, total=len(found), unit="cell"), strict=True):
        if prediction.latent is None:
            print(f"not read: {name}: {prediction.error}", file=sys.stderr)
        else:
            files.append(name)
            latents.append(prediction.latent)
    if not files:
        raise typer.Exit(1)
    np.savez(out, files=files, latents=np.stack(latents))


@app.command(rich_help_panel="Cells")
def attention(
    cells: Cells,
    model: Annotated[str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id, of a network.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, of twelve cells each.")],
    revision: Revision = None,
) -> None:
    """Draws where a network looks: the attention of SLCA, or of the shape-aware network, over each cell.

    An image that cannot be read is named and does not stop the others.
    """
    from bc_sam.data.inputs import find_cells

    found = find_cells(cells)

    from itertools import islice

    import numpy as np
    from tqdm import tqdm

    from bc_sam.data.images import read_image
    from bc_sam.errors import ImageError
    from bc_sam.evaluation.plots import attention_maps
    from bc_sam.models.bc_sam import BCSam
    from bc_sam.models.comparison import with_attention

    loaded = with_attention(BCSam.from_pretrained(model, revision=revision))
    out.mkdir(parents=True, exist_ok=True)
    pairs = iter(tqdm(zip(found.names, found.images, strict=True), total=len(found), unit="cell"))
    for number, some in enumerate(iter(lambda: list(islice(pairs, 12)), []), 1):
        images = {}
        for name, source in some:
            try:
                images[name] = read_image(source)
            except ImageError as error:
                print(f"not read: {name}: {error}", file=sys.stderr)
        if images:
            maps, names = loaded.attention(list(images.values())), loaded.predict(list(images.values()))
            titles = [f"{Path(name).name}\n{label}" for name, label in zip(images, names, strict=True)]
            figure = attention_maps([np.asarray(image) for image in images.values()], maps, titles)
            figure.savefig(out / f"attention_{number:03d}.png")
    print(f"Written: {out}")
