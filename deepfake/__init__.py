"""deepfake-pipeline: telling photographs of real faces from deepfakes.

Everywhere in this library **fake = 1 is the positive class and real = 0**; a score is P(fake).
"""

REAL, FAKE = 0, 1
LABEL_NAMES = {REAL: "real", FAKE: "fake"}
SPLITS = ("train", "valid", "test")
