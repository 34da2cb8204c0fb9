"""Reading classifiers of strangers without running any of their code."""
