"""Options for runs of `bc-sam train` that take seconds, with the code path of a full run."""

SMALL = (
    "image_size=96",
    "folds=3",
    "segmentation.epochs=2",
    "segmentation.warmup_epochs=0",
    "autoencoder.epochs=2",
    "autoencoder.batch_size=16",
)
#: For runs whose classifiers do not matter: one that takes no time to fit, save and load.
ONE_CLASSIFIER = ("--set", 'classifiers.names=["logistic"]', "--set", "classifiers.default=logistic")
DATA = ("--data", "north=rendered:munich:6", "--data", "south=rendered:barcelona:6")


def train_options(out, *more):
    """Arguments of `bc-sam` for a training run of seconds."""
    settings = [option for setting in SMALL for option in ("--set", setting)]
    return ["train", "--base", "tiny", "--out", str(out), *settings, *more]
