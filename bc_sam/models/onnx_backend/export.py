"""Exports a model to ONNX: a graph from pixels to embeddings and mask logits, and one for each classifier.

They are several so that only what is asked for is opened, and so that classifiers can be applied to embeddings from
elsewhere. The embeddings of four orientations are averaged outside of the graph, which would otherwise hold four
encoders.
"""

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.classifier_files import selected_classifiers
from bc_sam.models.folder import CONFIG, ONNX, hash_file, load_config, write_config
from bc_sam.models.onnx_backend.classifier_graphs import OPSETS, classifier_graphs
from bc_sam.models.onnx_backend.files import (
    EMBEDDINGS,
    FINGERPRINT,
    MASK_LOGITS,
    NETWORKS,
    PIXELS,
    SHARED,
    classifier_file,
    fingerprint,
)
from bc_sam.models.onnx_backend.guard import foreign_part, names_other_files
from bc_sam.models.onnx_backend.requirements import require_exporters
from bc_sam.models.onnx_backend.shared_weights import NetworkWeights, take_out, write_shared
from bc_sam.models.stored_model import StoredModel
from bc_sam.networks.sam.encoding import cell_logits, encode, normalise, upsample_logits
from bc_sam.utils.atomic import WRITE_ERRORS, folder_written_aside
from bc_sam.utils.model_source import SnapshotOptions

if TYPE_CHECKING:  # needs the export extra
    from onnx import ModelProto

# Largest message of protobuf, in which the weights have to fit.
_MOST_BYTES = 2**31 - 1


class _Networks(nn.Module):
    """The networks of a model as one module."""

    def __init__(self, model: BCSam) -> None:
        super().__init__()
        self.sam, self.encoder, self.config = model.sam, model.autoencoder.encoder, model.config

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns embeddings (n, d) and mask logits (n, S, S), float32, of pixels (n, S, S, 3) uint8."""
        features = encode(self.sam, normalise(pixels, self.config.image_mean, self.config.image_std))
        logits = cell_logits(self.sam, features, mask_tokens=self.config.mask_tokens)
        return self.encoder(features).flatten(1), upsample_logits(logits, self.config.image_size)


def export_onnx(model: BCSam, stored: StoredModel, folder: Path, *, standalone: bool = False) -> None:
    """Writes the graphs of a model, in float32.

    Args:
        model: A model in float32 on the CPU, with the classifiers to export.
        stored: Its folder, whose files identify the weights.
        folder: An empty folder for the graphs.
        standalone: Whether the graph of the networks holds all of its weights, so that other programs can run it. By
            default those that the model folder has are left out; see `bc_sam.models.onnx_backend.shared_weights`.

    Raises:
        MissingPackageError: If a package of the extra ``export`` is not installed.
        BCSamError: If the weights are too large for one file, or a classifier cannot be expressed in ONNX.
    """
    require_exporters()
    networks = _optimized(_network_graph(model))
    shared = {} if standalone else take_out(networks, NetworkWeights(stored.folder))
    write_shared(shared, folder / SHARED)
    graphs = {NETWORKS: networks}
    for name, graph in classifier_graphs(model.classifiers, model.config.latent_dim).items():
        graphs[classifier_file(name)] = _optimized(graph)
    for name, graph in graphs.items():
        (folder / name).write_bytes(_signed(graph, fingerprint(stored.config)))


def _signed(graph: "ModelProto", value: str) -> bytes:
    """Returns the file of a graph that names the weights and classifiers that it is of."""
    from onnx.helper import set_model_props

    graph.producer_name = "bc_sam"
    set_model_props(graph, {FINGERPRINT: value})
    content = graph.SerializeToString()
    if names_other_files(content):
        raise BCSamError("The exported graph would keep its weights in other files. Please report this.")
    if foreign := foreign_part(content):  # which a new version of an exporter may write
        raise BCSamError(f"The exported graph has {foreign}, which would not be opened. Please report this.")
    return content


def export_to_folder(
    source: str | Path,
    out: Path | None = None,
    *,
    standalone: bool = False,
    classifiers: Collection[str] | None = None,
    **options: Unpack[SnapshotOptions],
) -> Path:
    """Exports a model into its own folder, or into that of a copy, and lists the export in ``config.json``.

    Args:
        source: Model folder, run folder of ``bc-sam train``, or Hub id.
        out: Folder of the copy; by default the model's own.
        standalone: See `export_onnx`.
        classifiers: Names of the classifiers to export; by default all. Forests make up most of an export.
        **options: Download options; see `SnapshotOptions`.

    Returns:
        The folder that was written.

    Raises:
        ConfigError: If the model has no folder of its own and `out` is not given, or is no BC-SAM model.
        BCSamError: See `StoredModel.open` and `export_onnx`.
    """
    if out is None and not Path(source).expanduser().is_dir():
        raise ConfigError(
            f"{source} is no local folder into which its export could go. Give a folder for a copy: --out."
        )
    require_exporters()
    stored = StoredModel.open(source, device="cpu", dtype="float32", **options)
    if stored.config.network is not None:
        raise ConfigError(f"{source} is a model of the method {stored.config.method}; only BC-SAM can be exported.")
    model = BCSam.opened(stored)
    exported = selected_classifiers(stored.config, classifiers)
    folder = stored.folder if out is None else model.save_pretrained(out)
    stored = replace(stored, folder=folder, config=load_config(folder))
    model.classifiers = {name: value for name, value in model.classifiers.items() if name in exported}
    others = {name: value for name, value in stored.config.files.items() if not name.startswith(f"{ONNX}/")}
    try:
        with folder_written_aside(folder / ONNX) as part:
            export_onnx(model, stored, part, standalone=standalone)
            if others != stored.config.files:  # a kill must not leave a new export under the hashes of the old one
                write_config(replace(stored.config, files=others), folder / CONFIG)
        files = {f"{ONNX}/{path.name}": hash_file(path) for path in sorted((folder / ONNX).iterdir())}
        write_config(replace(stored.config, files=others | files), folder / CONFIG)
    except WRITE_ERRORS as error:
        raise BCSamError(
            f"The export could not be written to {folder / ONNX}: {error}. The model itself is unchanged. Free some "
            "space, or give another folder for a copy of the model: --out."
        ) from error
    return folder / ONNX


def _network_graph(model: BCSam) -> "ModelProto":
    """Returns the graph from pixels to embeddings and mask logits, for any number of images."""
    networks = _Networks(model).eval()
    size = model.config.image_size
    n_bytes = sum(tensor.nbytes for tensor in networks.state_dict().values())
    if n_bytes >= _MOST_BYTES:
        raise BCSamError(
            f"The weights take {n_bytes / 1e9:.1f} GB, and a file of ONNX holds at most 2 GB. Use the torch backend."
        )
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # 2, since torch takes a size of 1 for fixed
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            networks,
            (example,),
            dynamo=True,
            input_names=[PIXELS],
            output_names=[EMBEDDINGS, MASK_LOGITS],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSETS[""],
            external_data=False,
            optimize=False,  # which folds batch norms into weights; `_optimized` does the rest
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:  # where the code of each operator lies on the machine that exported it
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for info in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del info.metadata_props[:]
    del graph.graph.metadata_props[:], graph.metadata_props[:]
    return graph


def _optimized(graph: "ModelProto") -> "ModelProto":
    """Returns the graph with the operators into which ONNX Runtime fuses those of ONNX on a CPU.

    Otherwise it would do so whenever the file is opened. What suits one processor only is left out, and so is what
    changes weights, which are then no longer those of the model.
    """
    import onnx
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    with tempfile.TemporaryDirectory() as folder:
        options = SessionOptions()
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        options.log_severity_level = 3  # errors, which are raised
        InferenceSession(
            graph.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConvBNFusion", "ConvMulFusion", "ConvAddFusion"],
        )
        return onnx.load(options.optimized_model_filepath)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences what torch's exporter says of its own inner workings."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
