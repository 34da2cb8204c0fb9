"""The command line: ``bc-sam COMMAND``. Every command is a thin layer over the package."""

import gc
import json
import logging
import os
import sys
import warnings
from collections import Counter
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from bc_sam.config import EMBEDDED_MODEL
from bc_sam.errors import BCSamError, ConfigError

if TYPE_CHECKING:
    from bc_sam.adaptation import AdaptationConfig
    from bc_sam.comparisons.arguments import Method
    from bc_sam.config import TrainingArguments
    from bc_sam.experiment import Experiment, RunConfig

app = typer.Typer(
    help="Names single blood cells across laboratories. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str, typer.Argument(help="Model folder, run folder, or Hub id such as org/bc-sam; bc-sam-tiny is in the package.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id; by default the one in the package.")
]
Cells = Annotated[
    list[str], typer.Argument(help="Image files, folders, patterns in quotes, parquet, or a Hub data set id.")
]
Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        help="NAME=SOURCE, once for each laboratory. SOURCE is a folder or zip (Matek-19, Acevedo-20, or a subfolder "
        "a class), parquet, a Hub data set id, or rendered:LABORATORY[:CELLS_PER_CLASS[:SEED]].",
    ),
]
Masks = Annotated[Path | None, typer.Option(help="CSV with the columns image and mask: hand masks for some images.")]
LabelMap = Annotated[
    list[str] | None,
    typer.Option("--map", help="FOLDER=CLASS for a folder name of your own; FOLDER= leaves it out. Repeatable."),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        help="Regular expression whose first group on the file name is the slide or patient, e.g. '^([^_]+)_'."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on the Hub.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images a step; by default what suits the device.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16: number format of SAM's encoder.")]
Subfolder = Annotated[str | None, typer.Option(help="Folder in the repository that holds the model.")]
IncludeBase = Annotated[bool, typer.Option("--include-base", help="Also write a base SAM that is on the Hub.")]
Refit = Annotated[
    bool, typer.Option("--refit", help="Fit the classifiers again on the stored latents, and open no skops file.")
]
Classifier = Annotated[str | None, typer.Option(help="Classifier to use; by default the model's own choice.")]


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Run folder; a run of the same options is taken up where it stopped.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    from_model: Annotated[
        str | None,
        typer.Option("--from", help="Adapt this finished model to one new laboratory: folder or Hub id."),
    ] = None,
    labels_per_class: Annotated[
        int | None, typer.Option(min=0, help="With --from: most labels of each class to learn from; 0 for none.")
    ] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(help="With --from: both fits the classifiers on old and new cells, new on the new ones alone."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out as it was asked for; all else is ignored.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="SAM to start from: Hub id, folder, original .pth, or 'tiny' for a new small one."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="bc-sam, or a network to compare it with: slca, shape-aware, resnet.")
    ] = "bc-sam",
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="paper or tiny; by default tiny for --base tiny, else paper.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="strict keeps the test fold out of every stage; paper out of stage 3 only.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Parts that each data set is cut into.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, weights and shuffling.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, no, bf16 or fp16.")] = None,
    log_with: Annotated[
        list[str] | None, typer.Option(help="Tracker: tensorboard, wandb, trackio or another of Accelerate's.")
    ] = None,
    keep_pictures: Annotated[
        bool,
        typer.Option(
            "--keep-pictures",
            help="Put small pictures of stored cells into the model, to be shown as similar ones. Whoever gets the "
            "model sees them: not for patients' cells that may not leave your house.",
        ),
    ] = False,
    shared: Annotated[
        Path | None,
        typer.Option(help="Folder for decoded cells, stage 1 and features, which runs on the same data may share."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other number, as in --set segmentation.epochs=20. Repeatable."),
    ] = None,
) -> None:
    """Trains a model: masks (stage 1), autoencoder (stage 2), classifiers (stage 3); then tests and reports it.

    Example: bc-sam train --data matek19=AML-Cytomorphology_LMU.zip --data acevedo20=PBC_dataset_normal_DIB
    --masks pairs.csv --out runs/mine

    With --from it adapts a finished model to a new laboratory, with labels or without, and says whether it got better:
    bc-sam train --from MODEL --data ours=DIR --group-pattern '^([^_]+)_' --out runs/ours

    With --method it trains a network that BC-SAM is compared with, on the same cells and folds: bc-sam train
    --method slca --set network.image_backbone=microsoft/swinv2-tiny-patch4-window8-256 ...; see bc-sam compare.

    On several processes or GPUs: accelerate launch -m bc_sam train ...
    """
    from bc_sam.experiment import RunConfig

    if resume:
        _resume(out)
        return
    if from_model is not None:
        given = {
            "labels_per_class": labels_per_class,
            "learn_from": learn_from,
            "training.folds": folds,
            "training.seed": seed,
            "training.mixed_precision": precision,
            "training.keep_pictures": keep_pictures or None,
        }
        _adapt(out, from_model, data, masks, label_map, group_pattern, log_with, given, settings)
        return

    given = {
        "base": base,
        "protocol": protocol,
        "folds": folds,
        "seed": seed,
        "mixed_precision": precision,
        "keep_pictures": keep_pictures or None,
    }
    arguments = _arguments(preset_name or ("tiny" if base == "tiny" else "paper"), given, settings or [], method)
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=_pairs(label_map or []),
        group_pattern=group_pattern,
        log_with=tuple(log_with or ()),
        shared=str(shared) if shared else None,
        arguments=arguments,
    )
    _train(out, config)


@app.command()
def compare(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the table; what is finished there is kept.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    method: Annotated[
        list[str], typer.Option(help="Method to put into the table: bc-sam, slca, shape-aware, resnet. Repeatable.")
    ] = ["resnet", "bc-sam", "slca", "shape-aware"],  # noqa: B006  typer copies it
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also run SLCA and the shape-aware network without their parts.")
    ] = False,
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Also run SLCA, with and without attention, on this share of the labels. Repeatable."),
    ] = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="Measure every fold, not the first alone.")] = False,
    base: Annotated[str | None, typer.Option(help="SAM to start from, as for train.")] = None,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="paper or tiny; by default tiny for --base tiny, else paper.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="strict or paper, as for train.")] = None,
    folds: Annotated[int | None, typer.Option(help="Parts that each data set is cut into.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, weights and shuffling.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, no, bf16 or fp16.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other number, of every method. Repeatable.")
    ] = None,
) -> None:
    """Makes one table of all methods on the same cells and folds, with times and trained parameters.

    Each method is a run folder in --out, which predict, evaluate and push take. The table is in comparison.md there,
    and its figures in evaluation.json.

    Example: bc-sam compare --data matek19=DIR --data acevedo20=DIR --masks pairs.csv --base tiny --ablations
    --fraction 0.1 --fraction 0.25 --fraction 0.5 --out runs/table
    """
    from bc_sam.comparisons.table import join, planned_runs, render_all_markdown, render_all_text, run_all
    from bc_sam.experiment import RunConfig
    from bc_sam.training.accelerator import processes

    given = {"base": base, "protocol": protocol, "folds": folds, "seed": seed, "mixed_precision": precision}
    name = preset_name or ("tiny" if base == "tiny" else "paper")
    runs = planned_runs(
        lambda method: _arguments(name, given, settings or [], method),
        [_method(each) for each in method],
        ablations=ablations,
        fractions=fraction or (),
    )
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=_pairs(label_map or []),
        group_pattern=group_pattern,
    )
    evaluations = run_all(out, config, runs, all_folds=all_folds)
    if processes().is_main_process:
        join(evaluations).save(out / "evaluation.json")
        (out / "comparison.md").write_text(render_all_markdown(evaluations))
        print(render_all_text(evaluations))
        print(f"Runs and table: {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run, its report and the new cells.")] = Path("demo"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Train nothing; open the page of the Space on this computer.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="With --serve: model folder, run folder or Hub id, instead of the default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="With --serve: port to listen on; by default a free one.")] = None,
) -> None:
    """Shows it all without data of your own: renders cells of two laboratories, trains, reports, names new ones.

    With --serve it opens a page in the browser instead: drop a cell or a slide, see names, counts and warnings. It
    needs no network. Stop it with Ctrl-C.
    """
    if serve:
        _serve(model, port)
        return
    from bc_sam.demo import demo_config, write_new_cells

    _train(out / "run", demo_config())
    cells = out / "new_cells"
    if not cells.exists():
        write_new_cells(cells)
    for laboratory in sorted(path for path in cells.iterdir() if path.name != "masks"):
        print(f"\nNew cells of {laboratory.name}, whose folders tell the class:")
        predict([str(laboratory)], model=str(out / "run"))


@app.command()
def evaluate(
    model: Model,
    data: Annotated[list[str] | None, Data.__metadata__[0]] = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON to this file.")] = None,
) -> None:
    """Prints the cross-domain table.

    For a run folder, measures every fold that has not been measured, each with a pass of its own through the three
    stages, and renews the report. With --data, tests the finished model, as it is, on these labelled cells.
    """
    from bc_sam.tables import render_text

    if data:
        from bc_sam.data import load_cells
        from bc_sam.model import BCSam
        from bc_sam.model_evaluation import evaluate_model

        loaded = BCSam.from_pretrained(model, revision=revision)
        datasets = [
            load_cells(spec, label_map=_pairs(label_map or []) or None, group_pattern=group_pattern) for spec in data
        ]
        evaluation = evaluate_model(loaded, datasets, batch_size=batch_size)
        print(render_text(evaluation))
    else:
        from bc_sam.experiment import Experiment

        experiment = Experiment.open(model)
        pending = [fold for fold in range(experiment.arguments.folds) if not experiment.is_measured(fold)]
        for fold in pending or [0]:
            experiment.run_fold(fold)
            if not experiment.accelerator.is_main_process:
                continue
            evaluation = _report(experiment)
        if not experiment.accelerator.is_main_process:
            return
    if out:
        evaluation.save(out)


@app.command()
def predict(
    cells: Cells,
    model: ModelOption = EMBEDDED_MODEL,
    classifier: Classifier = None,
    csv: Annotated[Path | None, typer.Option(help="Also write all probabilities to this CSV file.")] = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    dtype: Dtype = "auto",
) -> None:
    """Names cells: label, probability and second guess for each image, and a differential count.

    An image that cannot be read is named at the end and does not stop the others.
    """
    from tqdm import tqdm

    from bc_sam.model import BCSam
    from bc_sam.predictions import CsvTable, describe, find_cells, render_differential
    from bc_sam.sam.compiling import WORTH_COMPILING

    found = find_cells(cells)
    loaded = BCSam.from_pretrained(model, revision=revision, dtype=dtype, classifiers=[classifier or "default"])
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


@app.command()
def embed(
    cells: Cells,
    out: Annotated[Path, typer.Option(help="NumPy archive (.npz) to write: files (n,) and latents (n, d).")],
    model: ModelOption = EMBEDDED_MODEL,
    revision: Revision = None,
    batch_size: BatchSize = None,
    dtype: Dtype = "auto",
) -> None:
    """Writes the latent of each cell: the numbers that the classifiers see."""
    import numpy as np
    from tqdm import tqdm

    from bc_sam.model import BCSam
    from bc_sam.predictions import find_cells
    from bc_sam.sam.compiling import WORTH_COMPILING

    found = find_cells(cells)
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


@app.command()
def attention(
    cells: Cells,
    model: Annotated[str, typer.Option("--model", "-m", help="Model folder, run folder, or Hub id, of a network.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, of twelve cells each.")],
    revision: Revision = None,
) -> None:
    """Draws where a network looks: the attention of SLCA, or of the shape-aware network, over each cell.

    An image that cannot be read is named and does not stop the others.
    """
    from itertools import islice

    import numpy as np
    from tqdm import tqdm

    from bc_sam.comparisons.model import with_attention
    from bc_sam.errors import ImageError
    from bc_sam.images import read_image
    from bc_sam.model import BCSam
    from bc_sam.plots import attention_maps
    from bc_sam.predictions import find_cells

    found = find_cells(cells)
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


@app.command()
def bench(
    model: Annotated[
        str | None, typer.Argument(help="Model folder, run folder, or Hub id; without it SAM ViT-B, random weights.")
    ] = None,
    revision: Revision = None,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda; by default the first GPU, if any.")] = None,
) -> None:
    """Measures how many cells a second this machine encodes, and says which batch size and number format to use.

    It takes about a minute.
    """
    import torch

    from bc_sam.bench import measure_rates, render_advice, vit_b
    from bc_sam.model import BCSam
    from bc_sam.sam.lora import merge

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if model:
        sam = merge(BCSam.from_pretrained(model, revision=revision, device="cpu", classifiers=[]).adapter)
    else:
        sam = vit_b()
    computer = torch.cuda.get_device_name(place) if place.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{model or 'SAM ViT-B'} on {computer}\n\n{'format':<10}{'batch':>6}{'images/s':>10}{'ms/image':>10}")
    rates = []
    for rate in measure_rates(sam, place):
        rates.append(rate)
        per_second = rate.images_per_second
        print(f"{rate.dtype:<10}{rate.batch_size:>6}{per_second:>10.1f}{1000 / per_second:>10.1f}", flush=True)
    print(f"\n{render_advice(rates)}")


@app.command("data")
def data_command(
    source: Annotated[str, typer.Argument(help="NAME=SOURCE, as for --data of train.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for parquet files; without it the set is only described.")
    ] = None,
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
) -> None:
    """Describes a data set, and converts it to parquet that every command and `datasets` read."""
    from bc_sam.data import load_cells, save_parquet

    dataset = load_cells(source, masks=masks, label_map=_pairs(label_map or []) or None, group_pattern=group_pattern)
    names = dataset.features["label"].names
    counts = Counter("unlabelled" if label is None else names[label] for label in dataset["label"])
    print(f"{len(dataset)} images")
    for name, count in sorted(counts.items()):
        print(f"  {name:<22}{count:>7}")
    if out:
        save_parquet(dataset, out)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="New folder for the images, their masks and pairs.csv.")],
    laboratory: Annotated[
        list[str],
        typer.Option(help="munich, barcelona or tehran: stain and microscope; anywhere: many drawn ones. Repeatable."),
    ] = ["munich", "barcelona"],  # noqa: B006  typer copies it
    cells_per_class: Annotated[int, typer.Option(min=1, help="Cells of each of the 13 classes.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the cells.")] = 0,
) -> None:
    """Draws synthetic cells as image files with exact masks, to look at or to try commands on."""
    from bc_sam.data.rendered import write_rendered

    print(f"Written: {write_rendered(out, laboratory, cells_per_class=cells_per_class, seed=seed).parents[1]}")


@app.command()
def convert(
    sam: Annotated[str, typer.Argument(help="The SAM that was fine-tuned: .pth file, folder, or Hub id.")],
    adapter: Annotated[Path, typer.Argument(help="What stage 1 of the original saved, such as epoch_85.pth.")],
    autoencoder: Annotated[Path, typer.Argument(help="The state dict of the original's autoencoder.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
) -> None:
    """Converts checkpoints of the original BC-SAM to a model folder. Files that would have to run code are refused."""
    from bc_sam.conversion import convert_original

    print(f"Written: {convert_original(sam, adapter, autoencoder).save_pretrained(out)}")


@app.command()
def save(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    include_base: IncludeBase = False,
    refit: Refit = False,
    half: Annotated[bool, typer.Option("--half", help="Write weights in float16, which takes half the room.")] = False,
    revision: Revision = None,
    subfolder: Subfolder = None,
) -> None:
    """Writes a copy of a model to a folder.

    With --include-base it needs nothing else: carry it on a stick to a machine without a network.
    """
    from bc_sam.model import BCSam

    loaded = BCSam.from_pretrained(model, revision=revision, subfolder=subfolder, refit=refit)
    print(f"Written: {loaded.save_pretrained(out, include_base=include_base, half=half)}")


@app.command()
def push(
    model: Model,
    repo_id: Annotated[str, typer.Argument(help="Repository on the Hub, owner/name; made if it does not exist.")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Of a new repository; by default what its owner has set.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; made if it does not exist.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Propose the commit as a pull request.")] = False,
    message: Annotated[str, typer.Option(help="Title of the commit.")] = "Upload BC-SAM",
    include_base: IncludeBase = False,
) -> None:
    """Pushes a model with its card to the Hub, in one commit. Log in first: hf auth login.

    What people have written into the card on the Hub, between the measured parts, is kept.
    """
    from bc_sam.model import BCSam

    commit = BCSam.from_pretrained(model).push_to_hub(
        repo_id,
        private=private,
        revision=revision,
        create_pr=create_pr,
        commit_message=message,
        include_base=include_base,
    )
    print(f"Pushed: {commit.pr_url or commit.commit_url}")


@app.command()
def info(model: Model = EMBEDDED_MODEL, revision: Revision = None, subfolder: Subfolder = None) -> None:
    """Says what a model is: classes, laboratories, classifiers, base, figures, files; and whether it is whole."""
    from bc_sam.hub import resolve_folder
    from bc_sam.model_folder import MODEL_FILES, check_files, describe, load_config

    folder = resolve_folder(model, MODEL_FILES, revision=revision, subfolder=subfolder)
    config = load_config(folder)
    print(describe(folder, config))
    check_files(folder, config)
    print("\nEvery file is the one that was saved.")


def _serve(model: str | None, port: int | None) -> None:
    """Serves the page until it is stopped."""
    if find_spec("gradio") is None:
        raise BCSamError("The page needs Gradio: pip install 'bc_sam[space]'.")
    from bc_sam.space.page import serve
    from bc_sam.space.source import model_source

    serve(model or model_source(), server_port=port, inbrowser=True)


def _train(out: Path, config: "RunConfig") -> None:
    """Runs the first pass, publishes its model, and reports."""
    from bc_sam.experiment import Experiment

    experiment = Experiment.create(out, config)
    if experiment.accelerator.is_main_process:
        print(f"{experiment.survey}\n")
    experiment.run_fold(0)
    if experiment.accelerator.is_main_process:
        _report(experiment)
    experiment.accelerator.end_training()


def _resume(out: Path) -> None:
    """Takes up whatever run a folder holds."""
    if (out / "adaptation.json").exists():
        from bc_sam.adaptation import AdaptationConfig

        _run_adaptation(out, AdaptationConfig.load(out / "adaptation.json"))
    else:
        from bc_sam.experiment import Experiment

        _train(out, Experiment.open(out).config)


def _adapt(
    out: Path,
    model: str,
    data: list[str],
    masks: Path | None,
    label_map: list[str] | None,
    group_pattern: str | None,
    log_with: list[str] | None,
    given: dict[str, Any],
    settings: list[str] | None,
) -> None:
    from bc_sam.adaptation import AdaptationConfig
    from bc_sam.config import AdaptationArguments

    if len(data) != 1:
        raise ConfigError("A model is adapted to one laboratory at a time: give --data NAME=SOURCE once.")
    known = AdaptationArguments().to_dict()
    asked = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    config = AdaptationConfig(
        model=model,
        data=data[0],
        masks=str(masks) if masks else None,
        label_map=_pairs(label_map or []),
        group_pattern=group_pattern,
        log_with=tuple(log_with or ()),
        arguments=AdaptationArguments.from_dict(_set(known, [*asked, *(settings or [])]), where="The command line"),
    )
    _run_adaptation(out, config)


def _run_adaptation(out: Path, config: "AdaptationConfig") -> None:
    from bc_sam.adaptation import Adaptation
    from bc_sam.comparison import render_comparisons

    adaptation = Adaptation.create(out, config)
    if adaptation.accelerator.is_main_process:
        print(f"{adaptation.survey}\n")
    result = adaptation.run()
    adaptation.accelerator.end_training()
    if not adaptation.accelerator.is_main_process:
        return
    print(f"Learned from {result.learned} cells, {result.labelled} of them with a label; {result.masks} hand masks.")
    if result.doubtful:
        print(f"{result.doubtful} masks are probably wrong, and were left out of stage 2: {out / 'doubtful.csv'}")
    if result.comparisons:
        print("\n" + render_comparisons(result.comparisons, adaptation.model.config.default_classifier))
    else:
        print("No held-out cell has a label, so nothing tells whether the new model is better. Label some.")
    print(f"Model:  {out / 'model'}")


def _arguments(name: str, given: dict[str, Any], settings: list[str], method: str = "bc-sam") -> "TrainingArguments":
    """A preset of a method, with the options and ``--set SECTION.NAME=VALUE`` on top."""
    from bc_sam.config import TrainingArguments, preset

    data = preset(name, _method(method)).to_dict() | {key: value for key, value in given.items() if value is not None}
    return TrainingArguments.from_dict(_set(data, settings), where="The command line")


def _set(data: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Puts each ``SECTION.NAME=VALUE`` into nested settings, in place."""
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting} has no value. Write it as --set segmentation.epochs=20.")
        *sections, key = path.split(".")
        target: Any = data
        for section in sections:
            target = target.get(section)
            if not isinstance(target, dict):
                raise ConfigError(f"--set {setting}: there is no section {section!r} among {', '.join(data)}.")
        try:
            target[key] = json.loads(text)
        except ValueError:
            target[key] = text
    return data


def _method(name: str) -> "Method":
    from bc_sam.comparisons.arguments import Method

    if name not in get_args(Method):
        raise ConfigError(f"There is no method {name!r}; choose one of {', '.join(get_args(Method))}.")
    return cast("Method", name)


def _pairs(given: list[str]) -> dict[str, str | None]:
    """Reads FOLDER=CLASS; an empty class leaves the folder out."""
    pairs: dict[str, str | None] = {}
    for pair in given:
        folder, separator, label = pair.partition("=")
        if not separator:
            raise ConfigError(f"--map {pair} has no '='. Write it as --map neutrophil=neutrophil_segmented.")
        pairs[folder] = label or None
    return pairs


def _report(experiment: "Experiment") -> Any:
    from bc_sam.run_report import write_run_report
    from bc_sam.tables import render_text

    experiment.publish_model()
    evaluation = write_run_report(experiment, ["bc-sam", *sys.argv[1:]])
    print(render_text(evaluation))
    print(f"Model:  {experiment.folder / 'model'}\nReport: {experiment.folder / 'report.html'}")
    return evaluation


def main() -> None:
    """Runs the command line; an error of the package ends it with one line, not with a trace."""
    # Importing makes some million objects that stay: looking through them for garbage would take a second.
    gc.set_threshold(100_000, 50, 50)
    logging.basicConfig(format="%(message)s")
    # Of several processes only the first one talks.
    quiet = os.environ.get("RANK", "0") != "0"
    logging.getLogger("bc_sam").setLevel(os.environ.get("BC_SAM_LOG", "WARNING" if quiet else "INFO"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except (BCSamError, OSError) as error:  # an OSError tells of a full disk or a missing permission by itself
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()  # else Python goes through all of them once more before it ends
