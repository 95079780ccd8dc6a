"""Stage `ingest`: fetch a data set, check every image, pack the original bytes into shards."""

import sys
from typing import Any

from deepfake import params
from deepfake.common import paths
from deepfake.ingest.ingest import ingest
from deepfake.sources import open_source
from deepfake.tracking.run import start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    with (
        start_run(settings.tracking, stage="ingest", kind="data") as run,
        open_source(settings.data, settings.seed) as source,
    ):
        report = ingest(source, settings.data, settings.seed, paths.IMAGES)
        run.params({"seed": settings.seed, "data": settings.data.model_dump()})
        run.tags({f"source_{key}": value for key, value in report["source"].items() if value})
        run.metrics(_numbers(report))
        run.files([paths.IMAGES_REPORT])
    for split, counts in report["counts"].items():
        print(f"{split}: {counts['real']} real, {counts['fake']} fake")
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"unusable: {report['bad']['count']} of {report['checked']}")


def _numbers(report: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the run; the whole report is among its files."""
    reasons, near = report["bad"]["reasons"], report["near_duplicates"]
    return {
        "images": report["counts"],
        "bad": report["bad"]["count"],
        "bad_because": {reason.replace(" ", "_"): count for reason, count in reasons.items()},
        "near_duplicates": {split: near[split] for split in ("train", "valid")},
        "warnings": len(report["warnings"]),
    }


if __name__ == "__main__":
    main()
