"""Runs experiments and adaptations for several commands, and prints their results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
    from bc_sam.evaluation.tables import render_comparisons

    out = adaptation.folder
    print(f"Trained on {result.learned} cells, {result.labelled} of them labelled, and {result.masks} masks.")
    if result.mask_problems:
        listed = out / "mask_problems.csv"
        print(f"{result.mask_problems} predicted masks look wrong and were excluded from stage 2: {listed}")
    if result.comparisons:
        print("\n" + render_comparisons(result.comparisons, adaptation.model.config.default_classifier))
    else:
        print("No held-out cell is labelled, so the adapted model cannot be compared with the original. Label some.")
    if advice := adaptation.advice:
        print(f"\n{advice}")
    print(f"Model:  {out / 'model'}")
