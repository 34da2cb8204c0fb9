"""Options and ``--set`` become settings, whatever their depth, under current names and former ones."""

import pytest

from bc_sam.cli.options import announce_new_spelling, read_arguments, read_pairs, read_settings
from bc_sam.config.presets import preset
from bc_sam.errors import ConfigError


class TestSettings:
    def test_options_that_were_not_given_change_nothing(self):
        assert read_settings({"seed": None, "folds": None}, None) == {}

    def test_names_with_dots_go_into_sections(self):
        assert read_settings({"training.seed": 5}, ["training.autoencoder.epochs=3"]) == {
            "training": {"seed": 5, "autoencoder": {"epochs": 3}}
        }

    @pytest.mark.parametrize(
        ("text", "value"),
        [("3", 3), ("0.5", 0.5), ("true", True), ("null", None), ("tiny", "tiny"), ('["rf"]', ["rf"])],
    )
    def test_values_are_json_or_else_text(self, text, value):
        assert read_settings({}, [f"name={text}"]) == {"name": value}

    def test_values_may_hold_equals_signs(self):
        assert read_settings({}, ["base=a=b"]) == {"base": "a=b"}

    def test_set_takes_precedence(self):
        assert read_settings({"seed": 1}, ["seed=2", "seed=3"]) == {"seed": 3}

    def test_a_name_without_a_value_is_refused(self):
        with pytest.raises(ConfigError, match=r"segmentation\.epochs has no value"):
            read_settings({}, ["segmentation.epochs"])

    def test_a_value_is_no_section(self):
        with pytest.raises(ConfigError, match="seed was given a value"):
            read_settings({"seed": 1}, ["seed.more=2"])


class TestArguments:
    def test_they_are_the_preset_with_changes(self):
        arguments = read_arguments("tiny", {"seed": 5}, ["segmentation.epochs=3"])
        expected = preset("tiny").updated({"seed": 5, "segmentation": {"epochs": 3}})
        assert arguments == expected
        assert arguments.segmentation.learning_rate == preset("tiny").segmentation.learning_rate

    @pytest.mark.parametrize(("base", "name"), [("tiny", "tiny"), (None, "paper"), ("org/sam", "paper")])
    def test_the_base_decides_the_preset(self, base, name):
        assert read_arguments(None, {"base": base}, None).autoencoder == preset(name).autoencoder

    def test_each_method_has_its_own_numbers(self):
        assert read_arguments("paper", {}, None, "shape-aware").network.optimizer == "sgd"

    def test_former_names_are_read(self):
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
    def test_mistakes_are_named(self, settings, message):
        with pytest.raises(ConfigError, match=rf"^The command line.*{message}"):
            read_arguments("tiny", {}, settings)

    def test_unknown_methods_are_refused(self):
        with pytest.raises(ConfigError, match="no method 'vgg'; choose one of bc-sam, slca"):
            read_arguments("tiny", {}, None, "vgg")


class TestPairs:
    def test_an_empty_class_skips_the_folder(self):
        assert read_pairs(["lympho=lymphocyte_typical", "smudge="]) == {"lympho": "lymphocyte_typical", "smudge": None}

    def test_a_pair_needs_an_equals_sign(self):
        with pytest.raises(ConfigError, match="--map neutrophil has no '='"):
            read_pairs(["neutrophil"])


def test_a_former_spelling_is_told_in_one_line_beside_the_output(capsys):
    announce_new_spelling("demo --serve", "serve")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "demo --serve is now spelled serve.\n"
