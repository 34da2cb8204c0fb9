"""The command ``fit``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    BatchSize,
    Columns,
    ConfigName,
    Data,
    GroupBy,
    IncludeBase,
    LabelMap,
    LocalFilesOnly,
    Model,
    Revision,
    Seed,
    Split,
    Subfolder,
    Token,
    read_labels,
    read_layout,
    read_pairs,
    use_token,
)
from bc_sam.errors import ConfigError


@app.command(rich_help_panel="Training")
def fit(
    model: Model,
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    data: Annotated[list[str] | None, Data.__metadata__[0]] = None,
    original: Annotated[
        Path | None,
        typer.Option(help="Folder of the original BC-SAM's X.npy, y.npy and dataset.npy, instead of --data."),
    ] = None,
    classifiers: Annotated[
        str | None, typer.Option(help="Comma-separated classifiers to fit; by default all that are installed.")
    ] = None,
    default: Annotated[str | None, typer.Option(help="Classifier that predict uses by default.")] = None,
    label_map: LabelMap = None,
    group_by: GroupBy = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
    seed: Seed = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    batch_size: BatchSize = None,
    include_base: IncludeBase = False,
) -> None:
    """Fits a model's classifiers on labelled cells, such as after convert.

    They replace the classifiers that the model has; the rest of the model
    stays as it is. Nothing is held out: measure the model on other cells with
    bc-sam evaluate.

    For example:

    bc-sam fit converted/ --data ours=cells/ --out runs/fitted
    """
    if bool(data) == bool(original):
        raise ConfigError("Give either --data NAME=SOURCE or --original FOLDER, to fit the classifiers on.")

    from bc_sam.data.reading_options import ReadingOptions
    from bc_sam.data.sources import load_domains
    from bc_sam.models.bc_sam import BCSam
    from bc_sam.models.labelled_embeddings import LabelledEmbeddings

    use_token(token)
    layout = read_layout(group_by, config_name, split, columns)
    options = ReadingOptions(label_map=read_pairs(label_map), **vars(layout))
    datasets = load_domains(data, options) if data else []
    loaded = BCSam.from_pretrained(
        model, revision=revision, subfolder=subfolder, local_files_only=local_files_only, classifiers=[]
    )
    if original:
        cells = LabelledEmbeddings.of_original(original)
    else:
        cells = LabelledEmbeddings.joined(
            [LabelledEmbeddings.of_dataset(loaded, dataset, batch_size=batch_size) for dataset in datasets]
        )
    for note in cells.unreadable:
        typer.echo(note, err=True)
    seeded = {} if seed is None else {"seed": seed}
    names = read_labels(classifiers)
    loaded.fit(cells.embeddings, cells.labels, cells.laboratories, names=names, default=default, **seeded)
    fitted = f"Fitted {', '.join(loaded.classifiers)} on {len(cells.labels)} cells."
    print(f"{fitted}\nWritten: {loaded.save_pretrained(out, include_base=include_base)}")
