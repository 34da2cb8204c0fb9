"""A saved model that has been located and verified, but not built yet."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, get_args

from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import ConfigError, MissingPackageError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.folder import BASE, CLASSIFIERS, EVALUATION, MODEL_FILES, RECORD, check_files, load_config
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.extras import extras_explained, install_command
from bc_sam.utils.forked import require_threads
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.model_source import SnapshotOptions, damage_explained, resolve_folder
from bc_sam.utils.openvino_runtime import import_openvino

if TYPE_CHECKING:  # the onnx backend imports neither
    import torch
    from transformers import SamModel

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=JsonConfig)

#: What computes: torch; ONNX Runtime, which starts several times as fast; or OpenVINO, whose networks take half of the
#: time on processors with bfloat16. The latter two compute on the CPU only, from the same export.
Backend = Literal["torch", "onnx", "openvino"]

# Data types that the backends without torch compute in.
_DTYPES: dict[str, tuple[str, ...]] = {"onnx": ("float32",), "openvino": ("bfloat16", "float32")}


class LoadOptions(SnapshotOptions, total=False):
    """Options of `bc_sam.load_model` and `BCSam.from_pretrained`, besides those of `SnapshotOptions`; all optional.

    Attributes:
        subfolder: Folder of the model in a repository of several models.
        device: Device of the model; by default the first CUDA device, else the CPU.
        dtype: Data type of SAM's encoder: ``"auto"``, the default, is bfloat16 on devices with hardware support, else
            float32; or ``"float32"``, ``"bfloat16"``, ``"float16"``. Everything else is computed in float32.
        classifiers: Names of the classifiers to load, where ``"default"`` is the config's; by default all.
        refit: Refit the classifiers on the stored embeddings without opening any skops file. As these embeddings are a
            sample of the training cells, the classifiers change slightly.
        backend: ``"torch"``, the default where it is installed, or ``"onnx"`` for ONNX Runtime, which starts several
            times as fast and computes on the CPU in float32. If the model has no export, one is written to the Hub's
            cache, which needs the extra ``export``. ``"openvino"`` computes from the same export, faster, in bfloat16
            where the processor has it, or in float32; it needs the extra ``openvino``.
    """

    subfolder: str | None
    device: "str | torch.device | None"
    dtype: "str | torch.dtype"
    classifiers: str | Collection[str] | None
    refit: bool
    backend: Backend | None


_HUB_OPTIONS = ("token", "cache_dir", "local_files_only", "force_download")


@dataclass(frozen=True)
class StoredModel:
    """A verified model folder, and the options of loading it.

    Attributes:
        source: The requested folder or Hub id.
        folder: The local folder of its files.
        config: Its config.
        device: Device of the model.
        precision: Data type of SAM's encoder.
        classifiers: Names of the classifiers to load, or one name; ``None`` for all.
        refit: Whether to refit the classifiers.
        hub: Options for fetching a base SAM from the Hub.
        backend: What computes.
    """

    source: str
    folder: Path
    config: BCSamConfig
    device: "str | torch.device"
    precision: Precision
    classifiers: str | Collection[str] | None
    refit: bool
    hub: Mapping[str, Any]
    backend: Backend = "torch"

    @classmethod
    def open(cls, source: str | Path, **options: Unpack[LoadOptions]) -> "StoredModel":
        """Locates a model, downloads it if necessary, and verifies its files.

        Args:
            source: Model folder, run folder of ``bc-sam train``, Hub id, or ``bc-sam-tiny``.
            **options: See `LoadOptions`.

        Raises:
            HubError: If the Hub has no such repository or revision, or cannot be reached.
            WeightsError: If a file is missing or changed, or was written by a newer version.
            ConfigError: If the config is invalid, there is no such device or backend, or the backend does not compute
                on this device or in this data type.
            MissingPackageError: If the model, device or data type needs torch, and it is not installed.
            BCSamError: If the process was forked after another model was loaded; see `bc_sam.utils.forked`.
        """
        chosen = options.get("backend")
        device, dtype, refit = options.get("device"), options.get("dtype", "auto"), options.get("refit", False)
        backend = chosen or _default_backend(needs_torch=refit or not _computes_onnx(device, dtype))
        device, precision = _where_to_compute(backend, device, dtype)
        hub = {name: options[name] for name in _HUB_OPTIONS if name in options}  # type: ignore[literal-required]
        where: dict[str, Any] = {"revision": options.get("revision"), "subfolder": options.get("subfolder")}
        folder = resolve_folder(source, MODEL_FILES, **where, **hub)
        with damage_explained(source, f"bc-sam info {source}"):
            config = load_config(folder)
            check_files(folder, config)
        if backend != "torch" and config.network is not None:
            if chosen is None:
                raise MissingPackageError(
                    f"{source} is a model of the method {config.method}, for which torch is needed. Run: "
                    f"{install_command('torch')}"
                )
            raise ConfigError(
                f"{source} is a model of the method {config.method}, and the {backend} backend computes BC-SAM only. "
                "Use the torch backend."
            )
        return cls(
            source=str(source),
            folder=folder,
            config=config,
            device=device,
            precision=precision,
            classifiers=options.get("classifiers"),
            refit=refit,
            hub=hub,
            backend=backend,
        )

    def with_torch(self, **changes: Any) -> "StoredModel":
        """Returns the same model for the torch backend on the CPU in float32, with changed options."""
        return replace(self, backend="torch", device="cpu", precision="no", **changes)

    @property
    def is_half(self) -> bool:
        """Whether the weights are stored in float16."""
        from bc_sam.utils.safetensors_header import holds_half

        names = [name for name in self.config.files if name.endswith(".safetensors")]
        return any(holds_half(self.folder / name) for name in names if not name.startswith(CLASSIFIERS))

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation of the model, if any."""
        return self._load_if_listed(Evaluation, EVALUATION)

    @property
    def record(self) -> TrainingRecord | None:
        """The training record of the model, if any."""
        return self._load_if_listed(TrainingRecord, RECORD)

    def load_base(self) -> "SamModel":
        """Loads the base SAM from the model folder, or at its pinned revision from the Hub.

        Raises:
            HubError: If it is on the Hub and cannot be fetched.
            WeightsError: If it is damaged or misshapen.
        """
        from bc_sam.networks.sam.loading import load_hub_sam, load_sam
        from bc_sam.networks.sam.resizing import keep_mask_tokens

        config = self.config
        if config.base_inside:
            sam = load_sam(self.folder / BASE, image_size=config.image_size)
        else:
            revision = config.base_revision
            sam = load_hub_sam(str(config.base), image_size=config.image_size, revision=revision, **self.hub)
        return keep_mask_tokens(sam, 2) if config.mask_tokens == "two" else sam

    def _load_if_listed(self, kind: type[T], name: str) -> T | None:
        return kind.load(self.folder / name) if name in self.config.files else None


def _default_backend(*, needs_torch: bool) -> Backend:
    """Returns torch, or ONNX Runtime where torch is neither needed nor installed."""
    if needs_torch or find_spec("torch") is not None:
        return "torch"
    _say_that_onnx_computes()
    return "onnx"


@cache  # once in a process
def _say_that_onnx_computes() -> None:
    logger.info("ONNX Runtime computes, as torch is not installed.")


def _computes_onnx(device: "str | torch.device | None", dtype: "str | torch.dtype") -> bool:
    """Whether the onnx backend computes on a device and in a data type."""
    return (device is None or str(device) == "cpu") and str(dtype).removeprefix("torch.") in ("auto", "float32")


def _without_torch(backend: str, dtype: str) -> Precision:
    """Returns the data type of a backend without torch; for ``"auto"``, bfloat16 if it computes in it here."""
    if backend == "onnx":
        return "no"
    core = import_openvino().Core()  # before a model without an export is exported for it
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if dtype == "bfloat16" or (dtype == "auto" and "BF16" in capabilities) else "no"


@extras_explained()
def _where_to_compute(
    backend: str, device: "str | torch.device | None", dtype: "str | torch.dtype"
) -> "tuple[str | torch.device, Precision]":
    """Returns device and data type, after checking that the backend has them."""
    if backend not in get_args(Backend):
        raise ConfigError(f"There is no backend {backend!r}. Choose {' or '.join(get_args(Backend))}.")
    if backend != "torch":
        if not _computes_onnx(device, "auto"):
            raise ConfigError(
                f"The {backend} backend computes on the CPU, not on {device}. Use the torch backend for it."
            )
        name = str(dtype).removeprefix("torch.")
        if name not in ("auto", *_DTYPES[backend]):
            raise ConfigError(
                f"The {backend} backend computes in {' or '.join(_DTYPES[backend])}, not in {dtype}. Use the torch "
                "backend for it."
            )
        return "cpu", _without_torch(backend, name)
    # First, since skops scans all loaded modules for scipy functions, which takes half a second after transformers;
    # see benchmarks/first_answer.py.
    import skops.io  # noqa: F401

    # isort: split
    import torch

    from bc_sam.networks.precision import precision_of
    from bc_sam.utils.torch_utils import usable_device

    if not torch.cuda.is_available():
        require_threads()  # merging the adapter would hang
    return usable_device(device), precision_of(dtype)
