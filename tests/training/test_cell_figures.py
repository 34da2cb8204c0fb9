"""The figures of a report in a folder."""

from bc_sam.evaluation.plots.style import new_figure
from bc_sam.training.cell_figures import save_figures


def test_figures_of_an_earlier_report_are_removed_and_other_files_kept(tmp_path):
    figure = new_figure("title", height=1)
    save_figures({"errors": figure, "confusion": [figure] * 3}, tmp_path)
    (tmp_path / "mine.png").touch()
    save_figures({"masks": figure, "confusion": [figure]}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"masks.png", "confusion_1.png", "mine.png"}
