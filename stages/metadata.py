"""Stage `metadata`: one table for each split of what the image files say about themselves."""

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import read_json, write_json
from deepfake.common.labels import SPLITS
from deepfake.data import shards
from deepfake.metadata.table import read_metadata, write_metadata
from deepfake.tracking.run import DIGESTED, start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    with start_run(settings.tracking, stage="metadata", kind="data") as run:
        tables = {split: paths.METADATA / f"{split}.csv" for split in SPLITS}
        counts = {
            split: write_metadata(table, shards.image_files(paths.IMAGES, split))
            for split, table in tables.items()
        }
        summary = read_json(paths.IMAGES_REPORT)
        summary["counts"] = {split: count.to_dict() for split, count in counts.items()}
        write_json(paths.DATA_SUMMARY, summary)
        run.metrics({"images": summary["counts"]})
        run.files([paths.DATA_SUMMARY])
        for split, table in tables.items():
            first, rows = read_metadata(table, rows=DIGESTED), int(counts[split].sum())
            run.data(first, f"metadata-{split}", split, summary["source"]["name"], rows)


if __name__ == "__main__":
    main()
