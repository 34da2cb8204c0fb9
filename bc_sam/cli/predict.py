"""Inference commands: predict, embed, attention.

Each resolves its inputs before importing heavy libraries, so that a wrong path fails fast.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bc_sam.cli.app import app
from bc_sam.cli.batch import EngineOptions
from bc_sam.cli.exit_status import exit_by
from bc_sam.cli.options import (
    ENGINE_PANEL,
    Backend,
    BatchSize,
    BlockSize,
    Cells,
    Classifier,
    Columns,
    ConfigName,
    CountAll,
    CpusPerWorker,
    Device,
    Dtype,
    EngineName,
    ForceDownload,
    GpusPerWorker,
    Labels,
    LocalFilesOnly,
    MicronsPerPixel,
    ModelOption,
    RayAddress,
    Revision,
    Split,
    Subfolder,
    Token,
    Workers,
    read_labels,
    read_layout,
    require_writable,
)
from bc_sam.utils.atomic import written_aside
from bc_sam.utils.model_source import EMBEDDED_MODEL

if TYPE_CHECKING:
    from bc_sam.data.appearance.profile import AppearanceProfile
    from bc_sam.data.inputs import NamedCells
    from bc_sam.models.base import CellModel


@app.command(rich_help_panel="Cells")
def predict(
    cells: Cells,
    model: ModelOption = EMBEDDED_MODEL,
    classifier: Classifier = None,
    labels: Labels = None,
    abstain: Annotated[
        bool,
        typer.Option(
            "--abstain/--no-abstain",
            help="Abstain on cells with a poor image, unlike those of training or with a low probability; or name "
            "every cell.",
        ),
    ] = True,
    csv: Annotated[
        Path | None, typer.Option(help="Also write labels, reasons and all probabilities to this CSV file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of Parquet files to write with --engine.", rich_help_panel=ENGINE_PANEL)
    ] = None,
    count_all: CountAll = False,
    microns_per_pixel: MicronsPerPixel = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = "auto",
    backend: Backend = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
    engine: EngineName = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    ray_address: RayAddress = None,
    block_size: BlockSize = None,
) -> None:
    """Names cells, or says why one has no name, and counts them.

    Prints label, probability and runner-up per image, and a differential
    count. If the model does not know the laboratory of the cells, that is
    said first, and the count has no shares until --labels says which kinds
    can occur. Blasts are listed, but not counted before a person has looked
    at them. Unreadable images are reported and skipped.

    With --engine, any number of cells becomes a folder of Parquet files, and
    the same command continues what was interrupted; nothing is printed per
    cell, and no count.

    Exit status: 0 if all images were read, 3 if some could not be, 1 if none
    could be or the command failed, 2 if an option is wrong.

    For example:

    bc-sam predict cells/ --model bc-sam-tiny --csv cells.csv
    """
    allowed = read_labels(labels)
    variant = {"revision": revision, "subfolder": subfolder, "dtype": dtype, "backend": backend}
    machine = {"device": device, "local_files_only": local_files_only, "force_download": force_download}
    reading = {"microns_per_pixel": microns_per_pixel, "batch_size": batch_size}
    spread = EngineOptions(engine, workers, cpus_per_worker, gpus_per_worker, ray_address, block_size)
    if spread.is_asked_for(out):
        naming = {"task": "predict", "classifier": classifier, "labels": allowed, "abstain": abstain}
        spread.run(
            cells,
            out,
            {**naming, "model": model, **variant, **reading, "split": split},
            columns=columns,
            token=token,
            machine=machine,
            refused={"--csv": csv, "--count-all": count_all, "--config": config_name},
        )
        return

    from bc_sam.data.inputs import find_cells

    if csv:
        require_writable(csv, "--csv")
    found = find_cells(cells, read_layout(None, config_name, split, columns))

    from bc_sam.cli.output import render_skipped
    from bc_sam.cli.slide import predict_cells
    from bc_sam.models.auto import load_model

    options: Any = {"classifiers": [classifier or "default"], "token": token, **variant, **machine}
    loaded = load_model(model, **options)
    chosen = allowed is not None or bool(loaded.config.allowed_labels)
    if allowed:
        loaded.restrict_labels(allowed)
    _compile_if_worthwhile(loaded, found, batch_size)
    images, profile = _measured(loaded, found.images, microns_per_pixel)
    options = {"classifier": classifier, "abstain": abstain, "profile": profile, **reading}
    predictions = loaded.stream(images, **options)
    given_by = classifier or loaded.config.default_classifier
    errors = predict_cells(
        loaded, found.names, predictions, csv, given_by=given_by, kinds_chosen=chosen, count_all=count_all
    )
    for line in [*errors, *render_skipped(len(errors), len(found), found.other_files)]:
        print(line, file=sys.stderr)
    exit_by(len(errors), len(found))


@app.command(rich_help_panel="Cells")
def embed(
    cells: Cells,
    out: Annotated[
        Path,
        typer.Option(
            help="NumPy archive (.npz) to write: files (n,) and latents (n, d). With --engine, a folder of Parquet."
        ),
    ],
    model: ModelOption = EMBEDDED_MODEL,
    microns_per_pixel: MicronsPerPixel = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
    batch_size: BatchSize = None,
    device: Device = None,
    dtype: Dtype = "auto",
    backend: Backend = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
    engine: EngineName = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    ray_address: RayAddress = None,
    block_size: BlockSize = None,
) -> None:
    """Writes the embedding of each cell, the classifiers' input.

    With --engine, any number of cells becomes a folder of Parquet files, and
    the same command continues what was interrupted.

    Unreadable images are reported and skipped; the exit status is then that
    of predict: 3 if some could not be read, 1 if none could be.

    For example:

    bc-sam embed cells/ --out embeddings.npz
    """
    variant = {"revision": revision, "subfolder": subfolder, "dtype": dtype, "backend": backend}
    machine = {"device": device, "local_files_only": local_files_only, "force_download": force_download}
    reading = {"microns_per_pixel": microns_per_pixel, "batch_size": batch_size}
    spread = EngineOptions(engine, workers, cpus_per_worker, gpus_per_worker, ray_address, block_size)
    if spread.is_asked_for():
        spread.run(
            cells,
            out,
            {"task": "embed", "model": model, **variant, **reading, "split": split},
            columns=columns,
            token=token,
            machine=machine,
            refused={"--config": config_name},
        )
        return

    from bc_sam.data.inputs import find_cells

    out = out if out.suffix == ".npz" else out.with_name(f"{out.name}.npz")  # as np.savez names it
    require_writable(out, "--out")
    found = find_cells(cells, read_layout(None, config_name, split, columns))

    import numpy as np
    from tqdm import tqdm

    from bc_sam.cli.output import render_skipped, unreadable
    from bc_sam.models.auto import load_model
    from bc_sam.models.inspection import inspect_cells
    from bc_sam.models.observation import Parts
    from bc_sam.utils.display import as_utf8

    options: Any = {"classifiers": [], "token": token, **variant, **machine}
    loaded = load_model(model, **options)
    _compile_if_worthwhile(loaded, found, batch_size)
    files, embeddings = [], []
    images, profile = _measured(loaded, found.images, microns_per_pixel)
    options = {**reading, "profile": profile}
    inspected = inspect_cells(loaded, images, Parts.EMBEDDINGS, **options)
    for name, cell in zip(found.names, tqdm(inspected, total=len(found), unit="cell", disable=None), strict=True):
        if cell.observed is None:
            print(unreadable(name, cell.error), file=sys.stderr)
        else:
            files.append(as_utf8(name))
            embeddings.append(cell.observed.embedding)
    n_errors = len(found) - len(files)
    for line in render_skipped(n_errors, len(found), found.other_files):
        print(line, file=sys.stderr)
    if files:
        with written_aside(out) as part, part.open("wb") as file:
            np.savez(file, files=files, latents=np.stack(embeddings))
    exit_by(n_errors, len(found))


def _measured(
    model: "CellModel", images: Iterable[Any], microns_per_pixel: float | None
) -> tuple[Iterable[Any], "AppearanceProfile | None"]:
    """Estimates and prints the scale that the images share; returns all images, and their profile."""
    from bc_sam.data.preparation import sample_of

    if model.config.normalization is None:
        if microns_per_pixel is not None:
            print("--microns-per-pixel has no effect: this model does not normalize images.", file=sys.stderr)
        return images, None
    sample, images = sample_of(images)
    profile = model.profile(sample, microns_per_pixel)
    if profile is not None:
        print(f"scale: {profile}", file=sys.stderr)
    return images, profile


def _compile_if_worthwhile(model: "CellModel", found: "NamedCells", batch_size: int | None) -> None:
    if model.sam is None:
        return
    from bc_sam.networks.sam.compiling import WORTH_COMPILING

    if len(found) >= WORTH_COMPILING:
        model.compile(batch_size)


@app.command(rich_help_panel="Cells")
def attention(
    cells: Cells,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id of an SLCA or shape-aware model.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures, twelve cells each.")],
    device: Device = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
) -> None:
    """Draws the attention map of an SLCA or shape-aware model over each cell.

    Unreadable images are reported and skipped; the exit status is then that
    of predict: 3 if some could not be read, 1 if none could be.

    For example:

    bc-sam attention cells/ --model runs/slca --out figures
    """
    from bc_sam.data.inputs import find_cells

    found = find_cells(cells)

    from itertools import islice

    import numpy as np
    from tqdm import tqdm

    from bc_sam.cli.output import render_skipped, unreadable
    from bc_sam.data.images import read_image
    from bc_sam.errors import ImageError
    from bc_sam.evaluation.plots import attention_maps, to_png
    from bc_sam.models.auto import load_model
    from bc_sam.models.comparison import with_attention

    loaded = with_attention(
        load_model(
            model,
            device=device,
            revision=revision,
            subfolder=subfolder,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    sources, profile = _measured(loaded, found.images, None)  # of all figures
    pairs = iter(tqdm(zip(found.names, sources, strict=True), total=len(found), unit="cell", disable=None))
    n_errors = 0
    for number, chunk in enumerate(iter(lambda: list(islice(pairs, 12)), []), 1):
        images = {}
        for name, source in chunk:
            try:
                images[name] = read_image(source)
            except ImageError as error:
                n_errors += 1
                print(unreadable(name, error), file=sys.stderr)
        if images:
            labels, maps = loaded.predict_with_attention(list(images.values()), profile=profile)
            titles = [f"{Path(name).name}\n{label}" for name, label in zip(images, labels, strict=True)]
            figure = attention_maps([np.asarray(image) for image in images.values()], maps, titles)
            with written_aside(out / f"attention_{number:03d}.png") as part:
                part.write_bytes(to_png(figure))
    for line in render_skipped(n_errors, len(found), found.other_files):
        print(line, file=sys.stderr)
    if n_errors < len(found):
        print(f"Written: {out}")
    exit_by(n_errors, len(found))
