"""The card reports the evaluation only, is readable by the Hub, and keeps manual edits."""

import re
import sys
from dataclasses import replace

import pytest
import yaml
from example_evaluation import example_evaluation
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.datasets.acevedo import ACEVEDO20
from bc_sam.data.datasets.matek import MATEK19
from bc_sam.data.provenance import Provenance
from bc_sam.errors import BCSamError
from bc_sam.models.card import METRICS, card_pictures, render_card, write_card
from bc_sam.models.card_merge import ADDED, begin, end, merge_text
from bc_sam.models.training_record import DataRecord, TrainingRecord

EVALUATION = example_evaluation()
RECORD = TrainingRecord(
    TrainingArguments(),
    (
        DataRecord("matek19", 230, 230, 144, unreadable=2, hub_id="lab/matek19", provenance=MATEK19),
        DataRecord("acevedo20", 3060, 3060, 60, provenance=ACEVEDO20),
    ),
)
CONFIG = BCSamConfig(
    domains=("matek19", "acevedo20"),
    classifiers={name: tuple(range(13)) for name in EVALUATION.classifiers},
    base="facebook/sam-vit-base",
    base_revision="a" * 40,
    base_inside=False,
)


@pytest.fixture(scope="module")
def card():
    return render_card(CONFIG, EVALUATION, RECORD, repo_id="lab/bc-sam")


def metadata_of(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_embeddings_averaged_over_orientations_are_told_from_those_evaluated():
    averaged = render_card(replace(CONFIG, average_turns=True), EVALUATION, RECORD)
    for text in ("the embedding is the mean over its four orientations", "Measured on single embeddings"):
        assert text in averaged
        assert text not in render_card(CONFIG, EVALUATION, RECORD)
    trained = replace(RECORD, arguments=replace(RECORD.arguments, average_turns=True))
    assert "Measured on single" not in render_card(replace(CONFIG, average_turns=True), EVALUATION, trained)


class TestThumbnails:
    def test_are_listed_with_their_licences(self):
        card = render_card(CONFIG, EVALUATION, RECORD, thumbnails={"matek19": 200, "acevedo20": 1800, "ours": 7})
        assert "contains thumbnails of 2007 training cells" in card
        assert "200 of matek19, licence: CC BY 3.0;" in card
        assert "1800 of acevedo20, licence: CC BY 4.0;" in card
        assert "7 of ours, licence: not stated." in card

    def test_are_not_mentioned_if_there_are_none(self, card):
        assert "contains thumbnails" not in card

    def test_a_laboratorys_name_cannot_break_the_card(self):
        name = "<b>|x|\n# heading"
        text = render_card(CONFIG, EVALUATION, RECORD, thumbnails={name: 1})
        assert "\n# heading" not in text
        assert "<b>" not in text


class TestMetadata:
    def test_names_library_base_and_data_sets(self, card):
        data = ModelCard(card).data
        assert (data.library_name, data.pipeline_tag, data.license) == ("bc_sam", "image-classification", "apache-2.0")
        assert (data.base_model, data["base_model_relation"]) == ("facebook/sam-vit-base", "adapter")
        assert data.datasets == ["lab/matek19"]

    def test_has_every_result_of_the_default_classifier(self, card):
        data = ModelCard(card).data
        assert data.model_name == "bc-sam"
        assert len(data.eval_results) == len(EVALUATION.domain_pairs) * len(METRICS)
        for result in data.eval_results:
            measure, of, classifier = result.metric_name.split()
            assert (of, classifier) == ("of", "svm_rbf")
            source, target = re.fullmatch("trained on (.+), tested on (.+)", result.dataset_config).groups()
            assert target == result.dataset_name
            if measure == "calibration_error":
                expected = EVALUATION.calibration_error("svm_rbf", source, target)
            else:
                expected, _ = EVALUATION.mean_std("svm_rbf", source, target, measure)
            assert result.metric_value == pytest.approx(expected, abs=1e-4)

    def test_omits_missing_results(self):
        pairs = [replace(pair, reliability=[]) for pair in EVALUATION.pairs]
        data = ModelCard(render_card(CONFIG, replace(EVALUATION, pairs=pairs), RECORD)).data
        assert data.metrics == ["accuracy", "balanced_accuracy", "f1"]
        assert {result.metric_type for result in data.eval_results} == set(data.metrics)

    def test_similar_laboratory_names_stay_distinct(self):
        alike = {"matek19": "lab a", "acevedo20": "lab-a"}
        pairs = [replace(pair, target=alike[pair.target]) for pair in EVALUATION.pairs]
        results = ModelCard(render_card(CONFIG, replace(EVALUATION, pairs=pairs))).data.eval_results
        assert {result.dataset_name for result in results} == {"lab a", "lab-a"}

    def test_a_custom_base_is_not_listed(self):
        assert "base_model" not in metadata_of(render_card(BCSamConfig()))


class TestText:
    def test_states_the_provenance_of_the_data(self, card):
        for provenance in (MATEK19, ACEVEDO20):
            assert provenance.homepage in card
            assert provenance.licence in card
            assert provenance.bibtex in card
        assert "matek19: 2 images were unreadable" in card

    def test_cites_the_method_sam_and_the_data_used(self, card):
        cited = {"li2024bcsam", "kirillov2023segment"}
        assert set(re.findall(r"^@\w+{(\w+),", render_card(CONFIG), re.MULTILINE)) == cited
        with_data = cited | {"matek2019aml", "matek2019recognition", "acevedo2020dataset"}
        assert set(re.findall(r"^@\w+{(\w+),", card, re.MULTILINE)) == with_data

    def test_shows_how_to_load_and_adapt_this_model(self, card):
        assert 'BCSam.from_pretrained("lab/bc-sam")' in card
        assert card.count("bc-sam adapt lab/bc-sam ") == 1
        assert "accelerate launch -m bc_sam adapt lab/bc-sam " in card

    @pytest.mark.parametrize(
        ("config", "call"),
        [
            (CONFIG, f'SamModel.from_pretrained("facebook/sam-vit-base", revision="{"a" * 40}")'),
            (replace(CONFIG, base_inside=True), 'SamModel.from_pretrained("base")'),
        ],
    )
    def test_shows_how_to_load_the_parts_without_the_package(self, config, call):
        assert call in render_card(config)

    def test_an_adapted_model_is_described_as_such(self):
        card = render_card(CONFIG, replace(EVALUATION, protocol="adapted"), RECORD)
        assert "Adapted from a trained model" in card
        assert "| protocol | adapted, " in card
        assert "Test cells per class" in card

    def test_has_the_results_of_every_classifier_and_class(self, card):
        for classifier in EVALUATION.classifiers:
            assert re.search(rf"^\| {classifier} \| [\d.]+ ± ", card, re.MULTILINE)
        assert re.search(r"^\| smudge cell \| \d+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", card, re.MULTILINE)
        error = EVALUATION.calibration_error("svm_rbf", "all", "matek19")
        assert f"{error:.3f}" in card

    def test_missing_records_are_stated(self):
        card = render_card(BCSamConfig())
        assert "has not been evaluated" in card
        assert "not recorded" in card
        assert card.count("Not evaluated.") == 2

    def test_user_supplied_names_are_escaped(self):
        name = "our | lab <script>alert(1)</script>"
        pairs = [replace(pair, target=name) if pair.target == "matek19" else pair for pair in EVALUATION.pairs]
        hostile = replace(EVALUATION, pairs=pairs, domains=[name, "acevedo20"], counts={name: {"monocyte": 3}})
        record = TrainingRecord(TrainingArguments(), (DataRecord(name, 3, 3, 0),))
        card = render_card(replace(CONFIG, domains=(name,)), hostile, record, repo_id="lab/x")
        assert "<script>" not in ModelCard(card).text
        assert "our &#124; lab &lt;script&gt;" in card
        assert any(result.dataset_name == name for result in ModelCard(card).data.eval_results)

    def test_untrusted_records_are_escaped(self):
        mischief = "x](javascript:run()) | <b>\n\n# y"
        bibtex = f"@misc{{x}}\n```\n{end('citation')}\n# run"
        strange = Provenance(
            mischief, mischief, "https://x.org/) <b>", mischief, mischief, mischief, mischief, "", bibtex
        )
        data = (DataRecord(mischief, 1, 1, 1, provenance=strange), DataRecord("b", 1, 1, 1, hub_id="a/b) <b>"))
        card = render_card(CONFIG, EVALUATION, TrainingRecord(TrainingArguments(), data))
        assert "<b>" not in ModelCard(card).text
        assert "](javascript" not in card
        assert "# y" not in card.splitlines()
        assert card.count(end("citation")) == 1
        assert card.split("```bibtex")[1].count("```") == 1
        rows = card.split(begin("data"))[1].split("Images per class")[0].strip().splitlines()
        assert {row.count("|") for row in rows} == {10}

    def test_figures_are_saved_and_referenced(self, tmp_path):
        write_card(tmp_path, CONFIG, EVALUATION, RECORD)
        drawn = {path.name for path in (tmp_path / "figures").iterdir()}
        assert drawn == set(card_pictures(EVALUATION, "svm_rbf"))
        shown = set(re.findall(r"\(figures/(\S+)\)", (tmp_path / "README.md").read_text()))
        assert shown == drawn

    def test_without_matplotlib_there_are_no_figures(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        write_card(tmp_path, CONFIG, EVALUATION, RECORD)
        assert "figures/" not in (tmp_path / "README.md").read_text()
        assert "matplotlib" in caplog.text


class TestManualEdits:
    def edited(self, card):
        card = card.replace("license: apache-2.0", "license: cc-by-nc-4.0\nextra_gated_prompt: Ask us")
        card = card.replace("- skops\n", "- skops\n- hospital-7\n")
        return card.replace("## Data\n", "## Who we are\n\nCall Ms Fischer.\n\n## Data\n")

    def test_are_kept_while_results_are_updated(self, card):
        other = replace(EVALUATION, pairs=[replace(pair, accuracy=0.125) for pair in EVALUATION.pairs])
        merged = render_card(CONFIG, other, RECORD, repo_id="lab/bc-sam", existing=self.edited(card))
        assert "Call Ms Fischer." in merged
        assert "12.5 ± 0.0" in merged
        assert merged.count("## Data") == 1
        data = metadata_of(merged)
        assert data["license"] == "cc-by-nc-4.0"
        assert data["extra_gated_prompt"] == "Ask us"
        assert "hospital-7" in data["tags"]
        assert {
            m["value"] for r in data["model-index"][0]["results"] for m in r["metrics"] if m["type"] == "accuracy"
        } == {0.125}

    def test_other_entries_of_the_model_index_are_kept(self, card):
        data = metadata_of(card)
        data["model-index"].append({"name": "theirs", "results": []})
        existing = f"---\n{yaml.safe_dump(data)}---\n\ntext"
        merged = metadata_of(render_card(CONFIG, EVALUATION, RECORD, repo_id="lab/bc-sam", existing=existing))
        assert [entry["name"] for entry in merged["model-index"]] == ["bc-sam", "theirs"]

    def test_removed_sections_stay_removed(self, card):
        text = re.sub(rf"{begin('limits')}.*{end('limits')}", "", card, flags=re.DOTALL)
        assert "bc_sam:begin limits" not in render_card(CONFIG, EVALUATION, RECORD, existing=text)

    def test_a_custom_card_gets_the_generated_sections_appended(self, card):
        merged = render_card(CONFIG, EVALUATION, RECORD, existing="# Ours\n\nAll by hand.\n")
        text = ModelCard(merged).text
        assert text.index("All by hand.") < text.index(ADDED) < text.index("Accuracy, %")
        assert metadata_of(merged)["library_name"] == "bc_sam"
        assert render_card(CONFIG, EVALUATION, RECORD, existing=merged).count(ADDED) == 1

    @pytest.mark.parametrize("metadata", ["license: [", "- a\n- b", "just words"])
    def test_invalid_metadata_is_reported(self, metadata):
        with pytest.raises(BCSamError, match=r"README\.md"):
            render_card(CONFIG, existing=f"---\n{metadata}\n---\ntext")

    def test_unusual_metadata_is_preserved(self):
        existing = "\ufeff---\ntags: [{a: 1}, skops]\nmodel-index: [odd]\ndatasets: lab/x\n---\ntext"
        data = metadata_of(render_card(CONFIG, EVALUATION, RECORD, existing=existing))
        assert data["tags"][:2] == [{"a": 1}, "skops"]
        assert data["tags"].count("skops") == 1
        assert data["model-index"][1:] == ["odd"]
        assert data["datasets"] == ["lab/x", "lab/matek19"]

    @settings(max_examples=6)
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40), min_size=10))
    def test_merging_a_card_with_itself_changes_nothing(self, prose):
        card = render_card(CONFIG, EVALUATION, RECORD, repo_id="lab/bc-sam")
        pieces = iter(prose)
        edited = re.sub(r"(?=<!-- bc_sam:begin)", lambda _: next(pieces, "") + "\n", card)
        assert render_card(CONFIG, EVALUATION, RECORD, repo_id="lab/bc-sam", existing=edited) == edited

    @settings(max_examples=30)
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=3, max_size=3))
    def test_text_between_sections_is_kept_and_merging_is_idempotent(self, prose):
        def parts(age):
            return [f"{begin(name)}\n{age}\n{end(name)}" for name in ("one", "two")]

        def text(age):
            one, two = parts(age)
            return prose[0] + one + prose[1] + two + prose[2]

        merged = merge_text("\n".join(parts("new")), text("old"))
        assert merged == text("new")
        assert merge_text("\n".join(parts("new")), merged) == merged

    @pytest.mark.parametrize(
        "old",
        [
            f"{begin('one')} no end",
            f"{end('one')} no begin {begin('one')}",
            f"{begin('one')} a {begin('one')} b {end('one')} c",
            f"{begin('one')} a {begin('two')} b {end('one')} c {end('two')}",
        ],
    )
    def test_broken_markers_lose_no_text(self, old):
        merged = merge_text(f"{begin('one')}\nnew\n{end('one')}", old)
        words = [word for word in re.sub(r"<!--.*?-->", " ", old).split() if word != "b"]
        assert all(word in merged for word in words)
        assert "new" in merged


def test_a_single_fold_has_no_spread():
    card = render_card(CONFIG, example_evaluation(folds=1), RECORD)
    assert not re.search(r"\bnan\b", card)
    assert "n = 1 fold" in card


def test_the_weights_of_labels_are_stated():
    weights = {"monocyte": 3.0, "neutrophil_segmented": 1.5}
    text = render_card(replace(CONFIG, label_weights=weights), EVALUATION, RECORD, repo_id="lab/model")
    assert "| label weights | monocyte 3, neutrophil segmented 1.5: probabilities are multiplied by them" in text
    assert "label weights" not in render_card(CONFIG, EVALUATION, RECORD, repo_id="lab/model")
