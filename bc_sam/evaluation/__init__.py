"""Evaluation: metrics, confidence intervals, results, tables, plots and reports."""
