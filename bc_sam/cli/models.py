"""Model commands: info, save, push, convert, export, bench."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    Device,
    ForceDownload,
    IncludeBase,
    Labels,
    LocalFilesOnly,
    Model,
    Refit,
    Revision,
    Subfolder,
    Token,
    read_labels,
    read_weights,
)
from bc_sam.config.model import BCSamConfig
from bc_sam.models.folder import RECORD
from bc_sam.utils.model_source import EMBEDDED_MODEL


@app.command(rich_help_panel="Models")
def info(
    model: Model = EMBEDDED_MODEL,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
) -> None:
    """Describes a model and verifies its files.

    Lists its classes, laboratories, classifiers, base, size, and whose
    pictures are inside.

    For example:

    bc-sam info bc-sam-tiny
    """
    from bc_sam.models.folder import MODEL_FILES, check_files, load_config
    from bc_sam.utils.model_source import damage_explained, resolve_folder

    folder = resolve_folder(
        model,
        MODEL_FILES,
        revision=revision,
        subfolder=subfolder,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    with damage_explained(model, f"bc-sam info {model}"):
        config = load_config(folder)
        print(describe(folder, config))
        check_files(folder, config)
    print("\nAll files match their saved checksums.")


@app.command(rich_help_panel="Models")
def save(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    include_base: IncludeBase = False,
    refit: Refit = False,
    labels: Labels = None,
    weigh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=WEIGHT",
            help="How much more often than among the training cells a label is expected where you use the model, such "
            "as monocyte=3; repeatable, in place of the weights that the model has.",
        ),
    ] = None,
    half: Annotated[
        bool | None,
        typer.Option("--half/--full", help="Store the weights in float16, at half the size; by default as before."),
    ] = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
) -> None:
    """Writes a copy of a model to a folder.

    With --include-base the copy works offline, also on another machine.
    With --labels the copy predicts only these labels by default.
    With --weigh it expects some labels more often than others.

    For example:

    bc-sam save OWNER/my-model copy --include-base
    """
    from bc_sam.models.auto import load_model

    allowed, weights = read_labels(labels), read_weights(weigh)
    loaded = load_model(
        model,
        refit=refit,
        revision=revision,
        subfolder=subfolder,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    if allowed:
        loaded.restrict_labels(allowed)
    if weights:
        loaded.weigh_labels(weights)
    print(f"Written: {loaded.save_pretrained(out, include_base=include_base, half=half)}")


@app.command(rich_help_panel="Models")
def push(
    model: Model,
    repo_id: Annotated[str, typer.Argument(help="Repository on the Hub, owner/name; created if it does not exist.")],
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Visibility of a new repository; by default the owner's setting."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; created if it does not exist.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    message: Annotated[str, typer.Option(help="Title of the commit.")] = "Upload BC-SAM",
    include_base: IncludeBase = False,
    token: Token = None,
) -> None:
    """Pushes a model with its card to the Hub, in one commit.

    Log in first: hf auth login. Manual edits of the card on the Hub, outside
    the generated sections, are kept.

    For example:

    bc-sam push runs/mine OWNER/my-model --private
    """
    from bc_sam.models.auto import load_model

    commit = load_model(model, token=token).push_to_hub(
        repo_id,
        private=private,
        revision=revision,
        create_pr=create_pr,
        commit_message=message,
        token=token,
        include_base=include_base,
    )
    print(f"Pushed: {commit.pr_url or commit.commit_url}")


@app.command(rich_help_panel="Models")
def convert(
    sam: Annotated[str, typer.Argument(help="The original's base SAM: .pth file, folder, or Hub id.")],
    adapter: Annotated[Path, typer.Argument(help="Stage 1 checkpoint of the original, such as epoch_85.pth.")],
    autoencoder: Annotated[Path, typer.Argument(help="State dict of the original's autoencoder.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
) -> None:
    """Converts checkpoints of the original BC-SAM to a model folder.

    Files that would execute code are rejected. The original saves no
    classifiers, so the model embeds and segments cells; bc-sam fit adds
    classifiers.

    For example:

    bc-sam convert sam_vit_b_01ec64.pth epoch_85.pth autoencoder.pth model
    """
    from bc_sam.models.conversion import convert_original

    print(f"Written: {convert_original(sam, adapter, autoencoder).save_pretrained(out)}")
    print(
        "It embeds and segments cells. The original saves no classifiers: to name cells, fit some on labelled cells, "
        f"bc-sam fit {out} --data NAME=SOURCE --out NEW, or on its X.npy, y.npy and dataset.npy, "
        f"bc-sam fit {out} --original FOLDER --out NEW."
    )


@app.command(rich_help_panel="Models")
def export(
    model: Model,
    backend: Annotated[
        Literal["onnx", "openvino"], typer.Option(help="What will compute: both read the same files.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="Folder for a copy of the model with its export; by default its own folder.")
    ] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Write all weights into the graph, so that other programs can run it.")
    ] = False,
    classifiers: Annotated[
        str | None, typer.Option(help="Comma-separated classifiers to export; by default all. Forests take most room.")
    ] = None,
    revision: Revision = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    force_download: ForceDownload = False,
) -> None:
    """Exports a model for another backend, into its folder.

    The export has a graph from pixels to mask and embedding, and one of each
    classifier. bc-sam predict --backend onnx or openvino uses it, and bc-sam
    push uploads it with the rest. It shares its weights with the model, unless
    --standalone is given, for other programs.

    For example:

    bc-sam export runs/mine
    """
    from bc_sam.models.onnx_backend.requirements import require_exporters

    require_exporters()  # before torch is imported, which the same extra installs

    from bc_sam.models.onnx_backend.export import export_to_folder

    path = export_to_folder(
        model,
        out,
        standalone=standalone,
        classifiers=read_labels(classifiers),
        revision=revision,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    n_bytes = sum(file.stat().st_size for file in path.iterdir())
    print(f"Written: {path} ({n_bytes / 1e6:.1f} MB)")


@app.command(rich_help_panel="Models")
def bench(
    model: Annotated[
        str | None,
        typer.Argument(help="Model folder, run folder, or Hub id; by default SAM ViT-B with random weights."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Time for each dtype and batch size; at least three batches are measured.")
    ] = 1.5,
    device: Device = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
) -> None:
    """Measures the encoder's speed here; recommends a batch size and dtype.

    Takes about a minute.

    For example:

    bc-sam bench bc-sam-tiny --device cpu
    """
    import torch

    from bc_sam.models.bc_sam import BCSam
    from bc_sam.networks.sam.lora import merge
    from bc_sam.networks.throughput import measure_rates, render_advice, vit_b
    from bc_sam.utils.torch_utils import usable_device

    target = usable_device(device)
    if model:
        loaded = BCSam.from_pretrained(
            model,
            classifiers=[],
            device="cpu",
            revision=revision,
            subfolder=subfolder,
            token=token,
            local_files_only=local_files_only,
        )
        sam = merge(loaded.adapter)
    else:
        sam = vit_b()
    hardware = torch.cuda.get_device_name(target) if target.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{model or 'SAM ViT-B'} on {hardware}\n\n{'dtype':<10}{'batch':>6}{'images/s':>10}{'ms/image':>10}")
    rates = []
    for rate in measure_rates(sam, target, seconds=seconds):
        rates.append(rate)
        per_second = rate.images_per_second
        print(f"{rate.dtype:<10}{rate.batch_size:>6}{per_second:>10.1f}{1000 / per_second:>10.1f}", flush=True)
    print(f"\n{render_advice(rates)}")


def _describe_normalization(config: BCSamConfig) -> str:
    normalization = config.normalization
    if normalization is None:
        return "none: whole images, stretched to squares"
    stain = ", stain strength" if normalization.stain else ""
    return f"one scale ({normalization.field_of_view:g} µm wide, centred on the white cell), white point{stain}"


def describe(folder: Path, config: BCSamConfig) -> str:
    """Returns a summary of a model and the size of each of its parts, one line per fact."""
    base = config.base or ("custom SAM, included" if config.network is None or config.network.needs_sam else "none")
    facts = {
        "method": config.method,
        "labels": ", ".join(config.labels),
        "laboratories": ", ".join(config.domains) or "not recorded",
        **_describe_classifier(config),
        **({"allowed labels": ", ".join(config.allowed_labels)} if config.allowed_labels else {}),
        **_describe_weights(config),
        "base": f"{base} at {config.base_revision}" if config.base_revision else base,
        "image size": f"{config.image_size} px",
        "normalization": _describe_normalization(config),
        "latent": f"{config.latent_dim} dimensions",
        "pictures inside": _describe_pictures(folder, config),
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


def _describe_weights(config: BCSamConfig) -> dict[str, str]:
    weights = ", ".join(f"{label} {weight:g}" for label, weight in config.label_weights.items())
    return {"label weights": weights} if weights else {}


def _describe_pictures(folder: Path, config: BCSamConfig) -> str:
    """Describes whose pictures a model contains, by laboratory and licence."""
    from bc_sam.models.card import thumbnail_licences
    from bc_sam.models.classifier_files import stored_pictures
    from bc_sam.models.training_record import TrainingRecord

    counts = stored_pictures(folder, config)
    record = TrainingRecord.load(folder / RECORD) if RECORD in config.files else None
    described = [
        f"{count} of {name} (licence: {licence or 'not stated'})"
        for name, count, licence in thumbnail_licences(counts, record)
    ]
    return f"thumbnails, which everyone with the model can see: {', '.join(described)}" if described else "none"


def _describe_classifier(config: BCSamConfig) -> dict[str, str]:
    """Describes what classifies the cells: classifiers on the latents, or one network."""
    network = config.network
    if network is None:
        if not config.classifiers:
            return {"classifiers": "none, so it cannot name cells; bc-sam fit adds some"}
        return {"classifiers": ", ".join(config.classifiers), "default": config.default_classifier}
    backbone = network.image_backbone
    return {
        "network": config.default_classifier,
        "backbone": f"{backbone.family}, input {network.input_size} px" if backbone else "SAM encoder",
    }
