"""Class labels and splits, as every table, prediction, metric and figure uses them.

**fake = 1 is the positive class and real = 0**; a score is P(fake). A source maps its own labels
to these once, in its own module.
"""

REAL, FAKE = 0, 1
LABEL_NAMES = {REAL: "real", FAKE: "fake"}
SPLITS = ("train", "valid", "test")
# The eight symmetries of a square: the views in which an image is shown to the network.
VIEWS = (
    "original",
    "mirrored",
    "flipped",
    "turned",
    "transposed",
    "rotated_right",
    "rotated_left",
    "transversed",
)
