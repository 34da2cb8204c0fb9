"""Commands that look at models, or carry them: info, save, push, convert, bench."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import FormerLabels, IncludeBase, Labels, Model, Refit, Revision, Subfolder, read_labels
from bc_sam.config.model import BCSamConfig
from bc_sam.models.folder import THUMBNAILS
from bc_sam.utils.hub import EMBEDDED_MODEL


@app.command(rich_help_panel="Models")
def info(model: Model = EMBEDDED_MODEL, revision: Revision = None, subfolder: Subfolder = None) -> None:
    """Says what a model is: classes, laboratories, classifiers, base, figures, files; and whether it is whole."""
    from bc_sam.models.folder import MODEL_FILES, check_files, load_config
    from bc_sam.utils.hub import resolve_folder

    folder = resolve_folder(model, MODEL_FILES, revision=revision, subfolder=subfolder)
    config = load_config(folder)
    print(describe(folder, config))
    check_files(folder, config)
    print("\nEvery file is the one that was saved.")


@app.command(rich_help_panel="Models")
def save(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    include_base: IncludeBase = False,
    refit: Refit = False,
    labels: Labels = None,
    among: FormerLabels = None,
    half: Annotated[bool, typer.Option("--half", help="Write weights in float16, which takes half the room.")] = False,
    revision: Revision = None,
    subfolder: Subfolder = None,
) -> None:
    """Writes a copy of a model to a folder.

    With --include-base the copy needs no network and can be carried to another machine.
    With --labels the copy predicts these labels only, unless told otherwise.
    """
    from bc_sam.models.auto import load_model

    allowed = read_labels(labels, among)
    loaded = load_model(model, revision=revision, subfolder=subfolder, refit=refit)
    if allowed:
        loaded.restrict_labels(allowed)
    print(f"Written: {loaded.save_pretrained(out, include_base=include_base, half=half)}")


@app.command(rich_help_panel="Models")
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
    from bc_sam.models.auto import load_model

    commit = load_model(model).push_to_hub(
        repo_id,
        private=private,
        revision=revision,
        create_pr=create_pr,
        commit_message=message,
        include_base=include_base,
    )
    print(f"Pushed: {commit.pr_url or commit.commit_url}")


@app.command(rich_help_panel="Models")
def convert(
    sam: Annotated[str, typer.Argument(help="The SAM that was fine-tuned: .pth file, folder, or Hub id.")],
    adapter: Annotated[Path, typer.Argument(help="What stage 1 of the original saved, such as epoch_85.pth.")],
    autoencoder: Annotated[Path, typer.Argument(help="The state dict of the original's autoencoder.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
) -> None:
    """Converts checkpoints of the original BC-SAM to a model folder. Files that would have to run code are refused."""
    from bc_sam.models.conversion import convert_original

    print(f"Written: {convert_original(sam, adapter, autoencoder).save_pretrained(out)}")


@app.command(rich_help_panel="Models")
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

    from bc_sam.models.bc_sam import BCSam
    from bc_sam.networks.sam.lora import merge
    from bc_sam.networks.throughput import measure_rates, render_advice, vit_b

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


def describe(folder: Path, config: BCSamConfig) -> str:
    """Says what a model is, and how large each of its parts is, in lines of a name and a value."""
    base = config.base or ("a SAM of its own" if config.network is None or config.network.needs_sam else "none")
    facts = {
        "method": config.method,
        "labels": ", ".join(config.labels),
        "laboratories": ", ".join(config.domains) or "not told",
        **_describe_classifier(config),
        **({"allowed labels": ", ".join(config.allowed_labels)} if config.allowed_labels else {}),
        "base": f"{base} at {config.base_revision}" if config.base_revision else base,
        "image size": f"{config.image_size} px",
        "latent": f"{config.latent_dim} numbers",
        "pictures": "small ones of stored cells are inside" if THUMBNAILS in config.files else "none of cells",
        "written with": ", ".join(f"{name} {number}" for name, number in config.versions.items()),
    }
    sizes: dict[str, int] = {}
    for name in config.files:
        part = name.partition("/")[0]
        sizes[part] = sizes.get(part, 0) + ((folder / name).stat().st_size if (folder / name).is_file() else 0)
    facts["size"] = ", ".join(
        f"{part} {size / 1e6:.1f} MB" for part, size in sizes.items() if not part.endswith(".json")
    )
    return "\n".join(f"{name:<16}{value}" for name, value in facts.items())


def _describe_classifier(config: BCSamConfig) -> dict[str, str]:
    """What names a cell: classifiers on the latents, or a network as a whole."""
    network = config.network
    if network is None:
        return {"classifiers": ", ".join(config.classifiers) or "none", "default": config.default_classifier}
    backbone = network.image_backbone
    return {
        "network": config.default_classifier,
        "backbone": f"{backbone.family}, sees {network.input_size} px" if backbone else "the encoder of SAM",
    }
