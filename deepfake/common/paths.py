"""Where the pipeline's files are, relative to the repository's root; dvc.yaml names the same."""

from pathlib import Path

CHECKED = Path("data/checked.txt")

IMAGES = Path("data/images")
IMAGES_REPORT = IMAGES / "report.json"

METADATA = Path("data/metadata")
DATA_SUMMARY = METADATA / "summary.json"

EXTERNAL = Path("data/external")
EXTERNAL_SUMMARY = EXTERNAL / "summary.json"
EXTERNAL_TABLE = Path("metadata.csv")  # in the folder of each set

BASELINE_MODEL = Path("data/models/baseline.joblib")
IMAGE_MODEL = Path("data/models/image.keras")
DETECTOR = Path("data/models/detector.keras")  # the image model with its temperature
EXPORTED = Path("data/detector")  # the detector as it is used without TensorFlow

BACKBONE = Path("data/backbone")
BACKBONE_SUMMARY = BACKBONE / "summary.json"
BACKBONE_WEIGHTS = BACKBONE / "backbone.weights.h5"
FEATURE_NETWORK = BACKBONE / "features.xml"  # OpenVINO's, with features.bin
MODEL_TEMPLATE = BACKBONE / "template.keras"  # the image model with an untrained linear head

EMBEDDINGS = Path("data/embeddings")
EMBEDDINGS_SUMMARY = EMBEDDINGS / "features.json"

COEFFICIENTS = Path("data/curves/baseline/coefficients.csv")

TRAINING = Path("data/training")
TRAINING_SUMMARY = TRAINING / "summary.json"
HISTORY = TRAINING / "history.csv"
PENALTIES = TRAINING / "penalties.csv"  # of cross-validation, where it chose the penalty

COMPARISON = Path("metrics/comparison.json")
FIGURES = Path("plots")
REPORT = Path("report.md")


def predictions(model: str) -> Path:
    """The folder with the predictions of `baseline` or `image`, a CSV a split."""
    return Path("data/predictions") / model


def decision(model: str) -> Path:
    """How the scores of `baseline` or of the detector, `image`, are read."""
    name = "decision" if model == "image" else f"{model}_decision"
    return Path("data/models") / f"{name}.json"


def external(name: str) -> Path:
    """The folder of an external data set: shards of the one split `test`, and `metadata.csv`."""
    return EXTERNAL / name


def external_predictions(model: str, name: str) -> Path:
    """The predictions of `baseline` or `image` for an external data set."""
    return predictions(model) / f"external-{name}.csv"


def curves(model: str) -> Path:
    """The folder with the curves and tables of `baseline` or `image` on test, as CSV."""
    return Path("data/curves") / model


def intervals(model: str) -> Path:
    """The interval of each metric of `baseline` or `image` on test."""
    return Path("data/intervals") / f"{model}.json"


def groups(model: str) -> Path:
    """The metrics of `baseline` or `image` on each source, and on data never trained on."""
    return Path("data/groups") / f"{model}.json"


def figure(model: str, name: str) -> Path:
    """The PNG of one model's figure, such as `plots/image_roc.png`."""
    return FIGURES / f"{model}_{name}.png"


def metrics_file(model: str) -> Path:
    """The metrics of `baseline` or `image`."""
    return Path("metrics") / f"{model}.json"
