"""Runs experiments and adaptations for several commands, and prints their results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bc_sam.errors import BCSamError

if TYPE_CHECKING:
    from bc_sam.evaluation.results import Evaluation
    from bc_sam.training.adaptation import Adaptation, AdaptationConfig, AdaptationResult
    from bc_sam.training.experiment import Experiment, RunConfig


def run_experiment(out: Path, config: "RunConfig") -> None:
    """Surveys the data, runs the first fold, exports its model and reports the results."""
    from bc_sam.training.experiment import Experiment

    with Experiment.create(out, config) as experiment:
        experiment.check()
        if experiment.is_main_process:
            print(f"{experiment.survey}\n")
        experiment.run_fold(0)
        if experiment.is_main_process:
            report_experiment(experiment)
        experiment.accelerator.end_training()


def report_experiment(experiment: "Experiment") -> "Evaluation":
    """Exports the model of an experiment, writes its report, prints its table, and returns its evaluation."""
    from bc_sam.evaluation.tables import render_text
    from bc_sam.training.run_report import write_run_report

    experiment.publish_model()
    evaluation = write_run_report(experiment, ["bc-sam", *sys.argv[1:]])
    print(render_text(evaluation))
    print(f"Model:  {experiment.folder / 'model'}\nReport: {experiment.folder / 'report.html'}")
    return evaluation


def run_adaptation(out: Path, config: "AdaptationConfig") -> None:
    """Surveys the data, adapts the model and reports the results."""
    from bc_sam.training.adaptation import Adaptation

    with Adaptation.create(out, config) as adaptation:
        if adaptation.is_main_process:
            print(f"{adaptation.survey}\n")
        result = adaptation.run()
        adaptation.accelerator.end_training()
        if adaptation.is_main_process:
            _report_adaptation(adaptation, result)


def _report_adaptation(adaptation: "Adaptation", result: "AdaptationResult") -> None:
    from bc_sam.training.adaptation_report import write_adaptation_report

    out = adaptation.folder
    write_adaptation_report(adaptation, result, ["bc-sam", *sys.argv[1:]])
    print(f"Trained on {result.learned} cells, {result.labelled} of them labelled, and {result.masks} masks.")
    if result.mask_problems:
        listed = out / "mask_problems.csv"
        print(f"{result.mask_problems} predicted masks look wrong and were excluded from stage 2: {listed}")
    print("\n" + _describe(result, adaptation.model.config.default_classifier))
    if advice := adaptation.advice:
        print(f"\n{advice}")
    print(f"Model:  {out / 'model'}\nReport: {out / 'report.html'}")


def show_adaptation(folder: Path) -> None:
    """Prints the outcome of a finished adaptation, without its data or any computation.

    Raises:
        BCSamError: If it is not finished.
    """
    from bc_sam.models.folder import load_config
    from bc_sam.training.adaptation import AdaptationResult

    result = AdaptationResult.load_intact(folder / "result.json")
    if result is None:
        raise BCSamError(f"The adaptation in {folder} is not finished. Run: bc-sam resume {folder}")
    print(_describe(result, load_config(folder / "model").default_classifier))
    report = folder / "report.html"
    missing = f"none yet; bc-sam resume {folder} writes it"
    print(f"Model:  {folder / 'model'}\nReport: {report if report.exists() else missing}")


def _describe(result: "AdaptationResult", classifier: str) -> str:
    from bc_sam.evaluation.tables import render_comparisons

    if result.comparisons:
        return render_comparisons(result.comparisons, classifier)
    return "No held-out cell is labelled, so the adapted model cannot be compared with the original. Label some."
