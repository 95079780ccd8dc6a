"""Stage `metadata`: a table for each split of what the picture files say of themselves."""

from deepfake import SPLITS, beside, dataset, metadata, params, tracking
from deepfake.errors import command
from deepfake.files import read_json, write_json

IMAGES, TABLES = "data/images", "data/metadata"
# What `baseline`, which follows, needs: a second of imports, while reading leaves processors idle.
SOON = ("sklearn.compose", "sklearn.linear_model", "matplotlib.figure", "sklearn.metrics")


@command
def main() -> None:
    settings = params.load()
    with (
        tracking.run(settings.tracking, stage="metadata", kind="data") as run,
        beside.preparing(SOON),
    ):
        counts = {
            split: metadata.write(f"{TABLES}/{split}.csv", dataset.pictures(IMAGES, split))
            for split in SPLITS
        }
        report = read_json(f"{IMAGES}/report.json")
        report["counts"] = {split: count.to_dict() for split, count in counts.items()}
        write_json("metrics/data.json", report)
        run.metrics({"pictures": report["counts"]})
        run.files(["metrics/data.json"])
        for split in SPLITS:
            table = metadata.read(f"{TABLES}/{split}.csv", rows=tracking.DIGESTED)
            pictures = int(counts[split].sum())
            run.data(table, f"metadata-{split}", split, report["source"]["name"], pictures)


if __name__ == "__main__":
    main()
