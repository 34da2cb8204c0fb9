"""Options and ``--set`` become nested settings, under current and former names."""

import pytest

from bc_sam.cli.options import read_arguments, read_pairs, read_pixel_sizes, read_settings, with_normalization
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.config.presets import preset
from bc_sam.errors import ConfigError


class TestSettings:
    def test_omitted_options_change_nothing(self):
        assert read_settings({"seed": None, "folds": None}, None) == {}

    def test_dotted_names_are_nested(self):
        assert read_settings({"training.seed": 5}, ["training.autoencoder.epochs=3"]) == {
            "training": {"seed": 5, "autoencoder": {"epochs": 3}}
        }

    @pytest.mark.parametrize(
        ("text", "value"),
        [("3", 3), ("0.5", 0.5), ("true", True), ("null", None), ("tiny", "tiny"), ('["rf"]', ["rf"])],
    )
    def test_values_are_json_or_else_strings(self, text, value):
        assert read_settings({}, [f"name={text}"]) == {"name": value}

    def test_values_may_contain_equals_signs(self):
        assert read_settings({}, ["base=a=b"]) == {"base": "a=b"}

    def test_set_takes_precedence(self):
        assert read_settings({"seed": 1}, ["seed=2", "seed=3"]) == {"seed": 3}

    def test_a_name_without_a_value_is_rejected(self):
        with pytest.raises(ConfigError, match=r"segmentation\.epochs has no value"):
            read_settings({}, ["segmentation.epochs"])

    def test_a_name_with_a_value_cannot_be_a_section(self):
        with pytest.raises(ConfigError, match="seed already has a value"):
            read_settings({"seed": 1}, ["seed.more=2"])


class TestArguments:
    def test_they_override_the_preset(self):
        arguments = read_arguments("tiny", {"seed": 5}, ["segmentation.epochs=3"])
        expected = preset("tiny").updated({"seed": 5, "segmentation": {"epochs": 3}})
        assert arguments == expected
        assert arguments.segmentation.learning_rate == preset("tiny").segmentation.learning_rate

    @pytest.mark.parametrize(("base", "name"), [("tiny", "tiny"), (None, "paper"), ("org/sam", "paper")])
    def test_the_base_decides_the_preset(self, base, name):
        assert read_arguments(None, {"base": base}, None).autoencoder == preset(name).autoencoder

    def test_each_method_has_its_own_defaults(self):
        assert read_arguments("paper", {}, None, "shape-aware").network.optimizer == "sgd"

    def test_former_names_are_accepted(self):
        assert read_arguments("tiny", {}, ["network.left_out=attention"], "slca").network.ablation == "attention"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (["stage1.epochs=3"], "stage1"),
            (["segmentation.epocs=3"], "segmentation.epocs"),
            (["segmentation.epochs=many"], "segmentation.epochs"),
            (["network.left_out=mask", "network.ablation=mask"], "left_out was renamed to ablation"),
        ],
    )
    def test_invalid_settings_are_reported(self, settings, message):
        with pytest.raises(ConfigError, match=rf"^The command line.*{message}"):
            read_arguments("tiny", {}, settings)

    def test_unknown_methods_are_rejected(self):
        with pytest.raises(ConfigError, match=r"Unknown method 'vgg'\. Choose one of bc-sam, slca"):
            read_arguments("tiny", {}, None, "vgg")


class TestPairs:
    def test_an_empty_class_skips_the_folder(self):
        assert read_pairs(["lympho=lymphocyte_typical", "smudge="]) == {"lympho": "lymphocyte_typical", "smudge": None}

    def test_a_pair_needs_an_equals_sign(self):
        with pytest.raises(ConfigError, match="--map neutrophil has no '='"):
            read_pairs(["neutrophil"])


class TestNormalization:
    def test_no_normalize_takes_precedence_over_settings(self):
        arguments = read_arguments("tiny", {}, ["normalization.field_of_view=24"])
        assert arguments.normalization == NormalizationConfig(24.0)
        assert with_normalization(arguments, True) is arguments
        assert with_normalization(arguments, False).normalization is None

    def test_pixel_sizes_are_read_by_name(self):
        assert read_pixel_sizes(["ours=0.1", "theirs=.07"]) == {"ours": 0.1, "theirs": 0.07}
        assert read_pixel_sizes(None) == {}

    @pytest.mark.parametrize("pair", ["0.1", "ours=", "ours=large", "=0.1", "ours 0.1"])
    def test_other_forms_are_rejected(self, pair):
        with pytest.raises(ConfigError, match=r"is not NAME=UM\. Write it as --microns-per-pixel ours=0\.1"):
            read_pixel_sizes([pair])
