"""`ingest`: fetch a data set, check every picture, pack the original bytes into Parquet shards."""

from deepfake import params, tracking
from deepfake.errors import command
from deepfake.ingest import ingest
from deepfake.sources import open_source

IMAGES = "data/images"


@command
def main() -> None:
    settings = params.load()
    with (
        tracking.run(settings.tracking, stage="ingest", kind="data") as run,
        open_source(settings.data, settings.seed) as source,
    ):
        run.params({"seed": settings.seed, "data": settings.data.model_dump()})
        report = ingest(source, settings.data, settings.seed, IMAGES)
        run.tags({f"source_{key}": value for key, value in report["source"].items() if value})
        run.metrics({"pictures": report["counts"], "bad": report["bad"]["count"]})
        run.files([f"{IMAGES}/report.json"])
    for split, counts in report["counts"].items():
        print(f"{split}: {counts['real']} real, {counts['fake']} fake")
    print(f"unusable: {report['bad']['count']} of {report['checked']}")


if __name__ == "__main__":
    main()
