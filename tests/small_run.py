"""Options for runs of `bc-sam train` that take seconds, with the code path of a full run."""

from small_model import DECODER_CHANNELS, IMAGE_SIZE

#: Cells of each class in each laboratory.
CELLS = 4
SMALL = (
    f"image_size={IMAGE_SIZE}",
    "folds=3",
    "segmentation.epochs=2",
    "segmentation.warmup_epochs=0",
    "autoencoder.epochs=2",
    "autoencoder.batch_size=16",
    f"autoencoder.decoder_channels={list(DECODER_CHANNELS)}",
)
#: For runs whose classifiers do not matter: one that takes no time to fit, save and load.
ONE_CLASSIFIER = ("--set", 'classifiers.names=["logistic"]', "--set", "classifiers.default=logistic")
DATA = ("--data", f"north=rendered:munich:{CELLS}", "--data", f"south=rendered:barcelona:{CELLS}")

#: A run that is repeated, killed and resumed: one classifier, pictures of its cells, a checkpoint every two steps.
LOGISTIC_RUN = (*DATA, *ONE_CLASSIFIER, "--keep-pictures", "--set", "checkpoint_steps=2")


def small_options(base):
    """Options of `bc-sam train` and `compare`: the preset of the tiny base, on a smaller one, in small."""
    return ["--preset", "tiny", "--base", str(base), *(word for setting in SMALL for word in ("--set", setting))]
