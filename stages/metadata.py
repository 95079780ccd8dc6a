"""Stage `metadata`: a table for each split of what the image files say of themselves."""

from deepfake import beside, params
from deepfake.common.errors import command
from deepfake.common.files import read_json, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.metadata.table import read_metadata, write_metadata
from deepfake.tracking.run import DIGESTED, start_run

IMAGES, TABLES = "data/images", "data/metadata"
# What `baseline`, which follows, needs: a second of imports, while reading leaves processors idle.
SOON = ("sklearn.compose", "sklearn.linear_model", "matplotlib.figure", "sklearn.metrics")


@command
def main() -> None:
    settings = params.load()
    with (
        start_run(settings.tracking, stage="metadata", kind="data") as run,
        beside.preparing(SOON),
    ):
        counts = {
            split: write_metadata(f"{TABLES}/{split}.csv", shards.image_files(IMAGES, split))
            for split in SPLITS
        }
        report = read_json(f"{IMAGES}/report.json")
        report["counts"] = {split: count.to_dict() for split, count in counts.items()}
        write_json("metrics/data.json", report)
        run.metrics({"images": report["counts"]})
        run.files(["metrics/data.json"])
        for split in SPLITS:
            table = read_metadata(f"{TABLES}/{split}.csv", rows=DIGESTED)
            image_files = int(counts[split].sum())
            run.data(table, f"metadata-{split}", split, report["source"]["name"], image_files)


if __name__ == "__main__":
    main()
