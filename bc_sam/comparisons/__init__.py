"""The systems that BC-SAM is measured against, as complete classifiers on the same data, loop, folds and table."""
