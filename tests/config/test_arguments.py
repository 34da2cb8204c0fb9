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
def test_it_survives_a_round_trip_through_a_file(config, tmp_path):
    config.save(tmp_path / "config.json")
    loaded = type(config).load(tmp_path / "config.json")
    assert loaded == config
    assert loaded.to_dict() == config.to_dict()


@every_config
def test_an_unknown_field_is_named_with_its_file(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict() | {"learning_rat": 1}))
    with pytest.raises(ConfigError, match=r"config\.json is not a valid .*learning_rat: .*Correct or remove"):
        type(config).load(path)


@every_config
def test_it_cannot_be_changed(config):
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds must be at least 2, not 1"),
        ({"image_size": 100}, "multiple of SAM's 16-pixel patches, not 100"),
        ({"image_size": 0}, "not 0"),
        ({"protocol": "lenient"}, "protocol: Input should be 'strict', 'paper' or 'leave-one-out'"),
        ({"mixed_precision": "fp8"}, "mixed_precision: Input should be 'auto'"),
        ({"seed": "today"}, "seed: Input should be a valid integer"),
        ({"segmentation": {"epochs": -1}}, "cannot train for -1 epochs"),
        ({"segmentation": {"lora_rank": 0}}, "lora_rank must be positive, not 0"),
        ({"segmentation": {"dice_weight": 1.5}}, r"dice_weight must lie in 0\.\.1, not 1\.5"),
        ({"segmentation": {"batch_size": 0}}, "batch_size must be positive"),
        ({"segmentation": {"epoch": 3}}, r"segmentation\.epoch: Unexpected"),
        ({"autoencoder": {"latent_dim": 0}}, "latent_dim must be positive"),
        ({"autoencoder": {"decoder_channels": [1, 2]}}, "needs 7 widths, not 2"),
        ({"autoencoder": {"target_size": 64}}, "target_size must be 128"),
        ({"autoencoder": {"batch_size": -3}}, "batch_size must be positive, not -3"),
        ({"classifiers": {"names": []}}, "Name at least one classifier"),
        ({"classifiers": {"names": ["rf"]}}, "default classifier 'svm_rbf' is not among"),
        ([], "should be a dictionary"),
    ],
)
def test_an_impossible_value_is_named_with_its_file(options, message):
    with pytest.raises(ConfigError, match=rf"^run\.json.*{message}"):
        TrainingArguments.from_dict(options, where="run.json")


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
def test_a_model_needs_distinct_labels_and_a_colour_range(options):
    with pytest.raises(ConfigError):
        BCSamConfig.from_dict(options)


def test_the_papers_numbers():
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


def test_the_tiny_preset_trains_a_new_sam_whole():
    tiny = preset("tiny")
    assert tiny.base == "tiny"
    assert tiny.segmentation.train_encoder
    assert tiny.autoencoder.latent_dim == preset("paper").autoencoder.latent_dim


def test_an_unknown_preset_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no preset 'huge'; choose one of \['paper', 'tiny'\]"):
        preset("huge")


def test_the_labels_are_the_canonical_ones_unless_told_otherwise():
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
def test_a_model_config_that_a_stranger_made_up_is_refused(field_name, value):
    known = BCSamConfig(classifiers={"rf": (0, 1)}, default_classifier="rf")
    data = json.loads(json.dumps(known.to_dict() | {field_name: value}))
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
def test_any_values_survive_json(point):
    assert Point.from_dict(json.loads(json.dumps(point.to_dict()))) == point


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}"])
def test_a_file_that_is_no_json_is_named(tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.json cannot be read as JSON"):
        read_json(tmp_path / "broken.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.json cannot be read"):
        BCSamConfig.load(tmp_path / "absent.json")
