"""The command ``count``: from photographs of a smear to a differential count."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bc_sam.cli.app import app
from bc_sam.cli.batch import EngineOptions
from bc_sam.cli.exit_status import exit_by
from bc_sam.cli.options import (
    Backend,
    BlockSize,
    Classifier,
    Columns,
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
)
from bc_sam.utils.model_source import EMBEDDED_MODEL

if TYPE_CHECKING:
    from bc_sam.data.inputs import NamedCells
    from bc_sam.models.base import CellModel
    from bc_sam.models.field_records import FieldRecord


@app.command(rich_help_panel="Cells")
def count(
    fields: Annotated[
        list[str],
        typer.Argument(help="Fields of one slide or microscope: image files, folders, zips, quoted glob patterns."),
    ],
    model: ModelOption = EMBEDDED_MODEL,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for annotated pictures, crops, a table of cells, and outlines as GeoJSON for QuPath and as "
            "COCO. A second run into it keeps finished fields, and finished tiles of large ones. With --engine, two "
            "folders of Parquet files, cells and fields."
        ),
    ] = None,
    classifier: Classifier = None,
    labels: Labels = None,
    abstain: Annotated[
        bool, typer.Option("--abstain/--no-abstain", help="Abstain on cells that should not be named, or name all.")
    ] = True,
    count_all: CountAll = False,
    platelets: Annotated[bool, typer.Option("--platelets", help="Also count platelets.")] = False,
    microns_per_pixel: MicronsPerPixel = None,
    split: Split = None,
    columns: Columns = None,
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
    """Finds and names the white cells of whole fields: a differential count.

    With --engine, any number of fields becomes tables of Parquet files, and
    the same command continues what was interrupted; nothing is printed per
    field, and no count.

    Unreadable fields are reported and skipped. Exit status: 0 if all fields
    were read, 3 if some, or parts of some, could not be, 1 if none could be
    or the command failed, 2 if an option is wrong.

    For example:

    bc-sam count smear/ --out counted
    """
    allowed = read_labels(labels)
    variant = {"revision": revision, "subfolder": subfolder, "dtype": dtype, "backend": backend}
    machine = {"device": device, "local_files_only": local_files_only, "force_download": force_download}
    spread = EngineOptions(engine, workers, cpus_per_worker, gpus_per_worker, ray_address, block_size)
    if spread.is_asked_for():
        naming = {"task": "count", "classifier": classifier, "labels": allowed, "abstain": abstain}
        seeking = {"platelets": platelets, "microns_per_pixel": microns_per_pixel, "split": split}
        spread.run(
            fields,
            out,
            {**naming, **seeking, "model": model, **variant},
            columns=columns,
            token=token,
            machine=machine,
            refused={"--count-all": count_all},
        )
        return

    from bc_sam.data.inputs import find_cells

    found = find_cells(fields, read_layout(None, None, split, columns))

    import numpy as np

    from bc_sam.cli.output import render_skipped
    from bc_sam.cli.slide import laboratory_notice, print_count
    from bc_sam.models.abstention import BLASTS
    from bc_sam.models.auto import load_model
    from bc_sam.models.field_records import white_per_100_red
    from bc_sam.models.laboratory import judge_cells

    options: Any = {"classifiers": [classifier or "default"], "token": token, **variant, **machine}
    loaded = load_model(model, **options)
    chosen = allowed is not None or bool(loaded.config.allowed_labels)
    if allowed:
        loaded.restrict_labels(allowed)
    settings = {
        "model": model,
        "revision": revision,
        "classifier": classifier,
        "labels": labels,
        "abstain": abstain,
        "platelets": platelets,
        "microns_per_pixel": microns_per_pixel,
    }
    records, errors = _search(loaded, found, settings, out)
    cells = [(record.field, number, cell) for record in records for number, cell in enumerate(record.cells, start=1)]
    judged = [(np.array(cell.embedding), cell.ood) for _, _, cell in cells if cell.embedding]
    fit = judge_cells(loaded, [embedding for embedding, _ in judged], [ood for _, ood in judged])
    unknown = laboratory_notice(fit, kinds_chosen=chosen)
    if unknown:
        print(f"\n{unknown.rstrip()}")
    print_count(
        loaded,
        [(cell.name or None, cell.likeliest or None, None) for _, _, cell in cells],
        [f"{field}: cell {number}" for field, number, cell in cells if cell.name in BLASTS],
        given_by=classifier or loaded.config.default_classifier,
        shares=chosen or not unknown,
        count_all=count_all,
    )
    if (ratio := white_per_100_red(records)) is not None:
        n_red = sum(record.n_red_cells or 0 for record in records)
        print(f"\n{ratio:.1f} white cells per 100 red cells (estimate; {n_red} red cells).")
    if out:
        print(f"Written: {out}")
    n_incomplete = sum(not record.complete for record in records)
    for line in [*errors, *render_skipped(len(errors), len(found), found.other_files, n_incomplete)]:
        print(line, file=sys.stderr)
    exit_by(len(errors), len(found), n_incomplete)


def _search(
    model: "CellModel", found: "NamedCells", settings: dict[str, Any], out: Path | None
) -> tuple[list["FieldRecord"], list[str]]:
    """Searches the fields that are not finished; returns all records, and a line for each unreadable field."""
    from tqdm import tqdm

    from bc_sam.cli.output import describe_field, unreadable
    from bc_sam.errors import ImageError
    from bc_sam.models.field_output import FieldFolder, stored_profile
    from bc_sam.models.field_records import FieldRecord
    from bc_sam.models.fields import Search, find_cells, profile_fields

    images = list(found.images)
    microns_per_pixel = settings["microns_per_pixel"]
    profile = (out and stored_profile(out, microns_per_pixel)) or profile_fields(images, microns_per_pixel)
    print(f"scale: {profile if profile else 'unknown'}", file=sys.stderr)
    folder = FieldFolder(out, settings, profile, model.config) if out else None
    search = Search(True, settings["platelets"], True, settings["classifier"], settings["abstain"])
    records, errors = [], []
    n_kept = 0
    progress = tqdm(images, unit="field", disable=len(images) == 1 or None)
    for name, image in zip(found.names, progress, strict=True):
        record = folder.finished(name, image) if folder else None
        n_kept += record is not None
        try:
            if record is None:
                result = find_cells(
                    model,
                    image,
                    search,
                    microns_per_pixel=microns_per_pixel,
                    profile=profile,
                    store=folder.tiles if folder else None,
                    show_progress_bar=sys.stderr.isatty(),
                )
                record = FieldRecord.of(name, result)
                if folder:
                    used = result.profile.scale.microns_per_pixel if result.profile else None
                    folder.add(record, image, used)
        except ImageError as error:
            errors.append(unreadable(name, error))
            continue
        records.append(record)
        tqdm.write(describe_field(record), file=sys.stdout)
    if folder:
        folder.finish(records)
    if n_kept:
        print(f"{n_kept} of {len(records)} fields were finished before and kept.", file=sys.stderr)
    return records, errors
