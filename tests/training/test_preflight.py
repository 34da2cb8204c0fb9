"""What would end a training after hours is reported before an image is read."""

from dataclasses import replace

import pytest
from accelerate import Accelerator

from bc_sam.config.arguments import ClassifierArguments
from bc_sam.data import load_rendered
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.training.preflight import check_labels, check_training


@pytest.fixture
def check(small_training):
    def check(accumulate=1, **changes):
        accelerator = Accelerator(cpu=True, mixed_precision="no", gradient_accumulation_steps=accumulate)
        check_training(replace(small_training, **changes), accelerator)

    return check


def test_usable_settings_pass(check):
    check()


def test_a_misspelt_classifier_is_reported_with_the_known_ones(check):
    with pytest.raises(ConfigError, match=r"svm_rfb.*svm_rbf"):
        check(classifiers=ClassifierArguments(names=("svm_rfb",), default="svm_rfb"))


def test_a_batch_that_cannot_be_divided_is_reported_with_its_name(check):
    with pytest.raises(ConfigError, match=r"segmentation\.batch_size: a batch of 8 cells .* 3 equal parts"):
        check(accumulate=3)


def test_a_rank_above_the_width_of_the_base_is_reported_with_its_range(check, small_training):
    with pytest.raises(ConfigError, match=r"lora_rank must be between 1 and 32, .* but is 33"):
        check(segmentation=replace(small_training.segmentation, lora_rank=33))


def test_a_base_that_does_not_exist_is_reported(check):
    with pytest.raises(BCSamError, match=r"no file or folder \./nowhere"):
        check(base="./nowhere")


def test_a_stage_that_no_memory_can_hold_is_rejected_with_an_estimate(check, small_training):
    with pytest.raises(DataError, match=r"Stage 1 needs at least .* GB of memory for 65536 images of 2048 px"):
        check(image_size=2048, segmentation=replace(small_training.segmentation, batch_size=65_536))


@pytest.fixture(scope="module")
def two():
    """Cells of two classes."""
    return load_rendered("munich", cells_per_class=1, size=32, labels=("basophil", "monocyte"))


@pytest.fixture(scope="module")
def one(two):
    """Cells of one class."""
    return two.filter(lambda label: label == two[0]["label"], input_columns="label")


class TestLabels:
    def test_a_data_set_of_one_class_is_rejected_where_it_is_trained_on_alone(self, one, two):
        with pytest.raises(DataError, match=r"All labelled cells of 'munich' are \w+, but .* need two classes"):
            check_labels([two, one], "strict")
        check_labels([two, one], "leave-one-out")

    def test_one_class_altogether_is_rejected(self, one):
        with pytest.raises(DataError, match="at least two classes"):
            check_labels([one], "leave-one-out")

    def test_data_sets_without_labels_may_be_added(self, two):
        unlabelled = two.map(lambda label: {"label": None}, input_columns="label")
        check_labels([two, unlabelled], "strict")
