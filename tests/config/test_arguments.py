import json
from dataclasses import FrozenInstanceError, dataclass, field, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.config.arguments import AutoencoderArguments, ClassifierArguments, SegmentationArguments, TrainingArguments
from bc_sam.config.labels import LABELS
from bc_sam.config.model import BCSamConfig
from bc_sam.config.presets import preset
from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig, read_json

every_config = pytest.mark.parametrize(
    "config",
    [
        SegmentationArguments(lora_rank=8, train_encoder=True, learning_rate=3e-4),
        AutoencoderArguments(latent_dim=7, decoder_channels=(1, 2, 3, 4, 5, 6, 7)),
        ClassifierArguments(names=("rf",), default="rf"),
        preset("paper"),
        preset("tiny"),
        BCSamConfig(
            labels=("a", "b", "c"),
            domains=("north", "south"),
            classifiers={"rf": (0, 2)},
            default_classifier="rf",
            base="org/sam",
            image_mean=(1.5, 2.0, 3.0),
            mask_tokens="two",
            versions={"torch": "2.13"},
        ),
    ],
    ids=lambda config: type(config).__name__,
)


@every_config
def test_configs_round_trip_through_a_file(config, tmp_path):
    config.save(tmp_path / "config.json")
    loaded = type(config).load(tmp_path / "config.json")
    assert loaded == config
    assert loaded.to_dict() == config.to_dict()


@every_config
def test_an_unknown_field_is_reported_with_its_file(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict() | {"learning_rat": 1}))
    with pytest.raises(ConfigError, match=r"config\.json is not a valid .*learning_rat: .*Correct or remove"):
        type(config).load(path)


@every_config
def test_configs_are_immutable(config):
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds must be between 2 and 1000, but is 1"),
        ({"image_size": 100}, "multiple of SAM's patch size of 16 from 48 to 4096, but is 100"),
        ({"image_size": 0}, "from 48 to 4096, but is 0"),
        ({"protocol": "lenient"}, "protocol: Input should be 'strict', 'paper' or 'leave-one-out'"),
        ({"mixed_precision": "fp8"}, "mixed_precision: Input should be 'auto'"),
        ({"seed": "today"}, "seed: Input should be a valid integer"),
        ({"segmentation": {"epochs": -1}}, r"segmentation\.epochs must be between 0 and 100000, but is -1"),
        ({"segmentation": {"lora_rank": 0}}, "lora_rank must be between 1 and 4096, but is 0"),
        ({"segmentation": {"dice_weight": 1.5}}, r"dice_weight must be between 0 and 1, but is 1\.5"),
        ({"segmentation": {"batch_size": 0}}, r"segmentation\.batch_size must be between 1 and 65536, but is 0"),
        ({"segmentation": {"epoch": 3}}, r"segmentation\.epoch: Unexpected"),
        ({"autoencoder": {"latent_dim": 0}}, "latent_dim must be between 1 and 4096"),
        ({"autoencoder": {"decoder_channels": [1, 2]}}, "must have 7 entries, but has 2"),
        ({"autoencoder": {"target_size": 64}}, "target_size must be 128"),
        ({"autoencoder": {"batch_size": -3}}, r"autoencoder\.batch_size must be between 1 and 65536, but is -3"),
        ({"autoencoder": {"label_weight": 1.0}, "protocol": "paper"}, "would learn labels that the protocol paper"),
        ({"autoencoder": {"label_weight": 1.0}, "label_fraction": 0.5}, "or that label_fraction withholds"),
        ({"views": -1}, "views must be between 0 and 10000000, but is -1"),
        ({"view": {"pale_prob": 1.5}}, r"pale_prob must be between 0 and 1, but is 1\.5"),
        ({"view": {"tight_crop_prob": -0.1}}, "tight_crop_prob must be between 0 and 1"),
        ({"view": {"low_resolution_prob": 2}}, "low_resolution_prob must be between 0 and 1"),
        ({"classifiers": {"names": []}}, "names must contain at least one classifier"),
        ({"classifiers": {"names": ["rf"]}}, "default classifier must be one of rf, but is 'svm_rbf'"),
        ([], "should be a dictionary"),
    ],
)
def test_an_invalid_value_is_reported_with_its_file(options, message):
    with pytest.raises(ConfigError, match=rf"^run\.json.*{message}"):
        TrainingArguments.from_dict(options, where="run.json")


_NAN, _INFINITE = float("nan"), float("inf")
_OUT_OF_RANGE = {
    "seed": (-1, 2**32),
    "folds": (0, 1001),
    "image_size": (16, 32, 4_096_000),
    "views": (-1, 10**9),
    "validation": (-0.1, 0.6, _NAN),
    "label_fraction": (0.0, 1.1, _NAN),
    "gradient_accumulation_steps": (0, -1),
    "checkpoint_steps": (0, -1),
    "segmentation.lora_rank": (0, 100_000),
    "segmentation.colour_jitter": (-0.1, 2.0, _NAN),
    "segmentation.dice_weight": (_NAN,),
    "autoencoder.latent_dim": (10**6,),
    "autoencoder.mmd_weight": (-1.0, _NAN, _INFINITE),
    "autoencoder.label_weight": (-1.0, _NAN),
    "autoencoder.warmup_steps": (-1,),
    "classifiers.rendered": (-1, 10**9),
    "network.input_size": (16, 4_096_000),
    "network.grid": (0,),
    "network.reduction": (0,),
    "network.label_smoothing": (-0.1, 1.0, _NAN),
    "view.stain": (-1.0, _NAN, _INFINITE),
    "view.shift": (-1.0, _NAN),
    "view.focus": (2.0, _NAN),
    "view.smallest": (0.0, 2.0, _NAN),
    "view.largest": (_NAN, _INFINITE),
} | {
    f"{stage}.{name}": values
    for stage in ("segmentation", "autoencoder", "network")
    for name, values in {
        "epochs": (-1, 10**9),
        "batch_size": (0, -1, 10**9),
        "learning_rate": (-1e-3, 11.0, _NAN, _INFINITE),
        "weight_decay": (-0.1, _NAN, _INFINITE),
        "max_grad_norm": (0.0, -1.0, _NAN),
        "patience": (0, -1),
    }.items()
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in _OUT_OF_RANGE.items() for value in values]
)
def test_a_number_out_of_range_is_reported_with_its_name(name, value):
    section, _, key = name.rpartition(".")
    options = {section: {key: value}} if section else {key: value}
    with pytest.raises(ConfigError, match=rf"^The command line: .*{key} must be .*"):
        TrainingArguments().updated(options, where="The command line")


@pytest.mark.parametrize(
    "options",
    [
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": ["a", "b"], "among": ["a", "c"]},
        {"image_std": [1.0, 0.0, 1.0]},
        {"image_mean": [1.0]},
    ],
)
def test_a_model_config_with_invalid_labels_or_pixel_statistics_is_rejected(options):
    with pytest.raises(ConfigError):
        BCSamConfig.from_dict(options)


def test_the_paper_preset_has_the_published_settings():
    paper = preset("paper")
    assert paper == TrainingArguments()
    assert (paper.base, paper.image_size, paper.seed, paper.folds) == ("facebook/sam-vit-base", 224, 1234, 5)
    stage1 = SegmentationArguments(
        lora_rank=4, epochs=150, warmup_epochs=10, batch_size=32, learning_rate=1e-4, weight_decay=0.1, dice_weight=0.8
    )
    assert paper.segmentation == stage1
    stage2 = AutoencoderArguments(
        latent_dim=50, epochs=10, warmup_steps=500, batch_size=128, learning_rate=5e-4, weight_decay=0.05, mmd_weight=5
    )
    assert paper.autoencoder == stage2


def test_the_tiny_preset_trains_the_whole_encoder_from_scratch():
    tiny = preset("tiny")
    assert tiny.base == "tiny"
    assert tiny.segmentation.train_encoder
    assert tiny.autoencoder.latent_dim == preset("paper").autoencoder.latent_dim


def test_an_unknown_preset_is_rejected_with_the_valid_ones():
    with pytest.raises(ConfigError, match=r"Unknown preset 'huge'\. Choose one of paper, pretrained, tiny\."):
        preset("huge")


def test_labels_default_to_the_canonical_ones():
    assert BCSamConfig().labels == LABELS


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("labels", ("basophil", "basophil")),
        ("labels", ()),
        ("image_size", 10**6),
        ("latent_dim", 10**9),
        ("feature_channels", 0),
        ("decoder_channels", (8, 8)),
        ("decoder_channels", (10**6,) * 7),
        ("image_std", (0.0, 1.0, 1.0)),
        ("classifiers", {"../../rf": (0,)}),
        ("classifiers", {"rf": (3, 1)}),
        ("default_classifier", "knn"),
        ("image_mean", (float("nan"), 0.0, 0.0)),
        ("image_std", (float("inf"), 1.0, 1.0)),
        ("base_revision", "../../x"),
        ("classifiers", {"rf": (0, 13)}),
        ("base", "../../somewhere"),
        ("base", "/etc"),
        ("base", "model.pth"),
        ("base_inside", False),
        ("files", {"../config.json": "0"}),
        ("files", {"/etc/passwd": "0"}),
        ("files", {"base/..": "0"}),
    ],
)
def test_a_malicious_or_invalid_model_config_is_rejected(field_name, value):
    valid = BCSamConfig(classifiers={"rf": (0, 1)}, default_classifier="rf")
    data = json.loads(json.dumps(valid.to_dict() | {field_name: value}))
    with pytest.raises(ConfigError, match=r"config\.json"):
        BCSamConfig.from_dict(data, where="config.json")


@dataclass(frozen=True)
class Point(JsonConfig):
    x: float = 0.0
    names: tuple[str, ...] = ()
    nested: dict[str, tuple[int, ...]] = field(default_factory=dict)


@given(
    st.builds(
        Point,
        x=st.floats(allow_nan=False),
        names=st.lists(st.text(st.characters(codec="utf-8")), max_size=3).map(tuple),
        nested=st.dictionaries(
            st.text(st.characters(codec="utf-8")), st.lists(st.integers(), max_size=3).map(tuple), max_size=3
        ),
    )
)
def test_any_values_round_trip_through_json(point):
    assert Point.from_dict(json.loads(json.dumps(point.to_dict()))) == point


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}"])
def test_an_invalid_json_file_is_reported_by_name(tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.json cannot be read as JSON"):
        read_json(tmp_path / "broken.json")


def test_a_missing_file_is_reported_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.json cannot be read"):
        BCSamConfig.load(tmp_path / "absent.json")
