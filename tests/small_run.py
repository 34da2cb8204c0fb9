"""Options for runs of `bc-sam train` that take seconds, with the code path of a full run."""

#: Cells of each class in each laboratory.
CELLS = 4
SMALL = (
    "image_size=96",
    "folds=3",
    "segmentation.epochs=2",
    "segmentation.warmup_epochs=0",
    "autoencoder.epochs=2",
    "autoencoder.batch_size=16",
    "autoencoder.decoder_channels=[8,8,8,8,8,8,8]",
)
#: For runs whose classifiers do not matter: one that takes no time to fit, save and load.
ONE_CLASSIFIER = ("--set", 'classifiers.names=["logistic"]', "--set", "classifiers.default=logistic")
DATA = ("--data", f"north=rendered:munich:{CELLS}", "--data", f"south=rendered:barcelona:{CELLS}")

#: A run that is repeated, killed and resumed: one classifier, pictures of its cells, a checkpoint every two steps.
LOGISTIC_RUN = (*DATA, *ONE_CLASSIFIER, "--keep-pictures", "--set", "checkpoint_steps=2")


def train_options(out, *more):
    """Arguments of `bc-sam` for a training run of seconds."""
    settings = [option for setting in SMALL for option in ("--set", setting)]
    return ["train", "--base", "tiny", "--out", str(out), *settings, *more]
