"""Stage `external`: pack the data sets that the models are scored on and not trained on."""

from typing import Any

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import write_json
from deepfake.ingest import external
from deepfake.ingest.ingest import replacing_directory
from deepfake.tracking.run import start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    if not settings.evaluate.external:
        write_json(paths.EXTERNAL_SUMMARY, {"sets": []})
        print("external: none")
        return
    with start_run(settings.tracking, stage="external", kind="data") as run:
        sets = _pack(settings)
        run.params({"external": {one.name: one.model_dump() for one in settings.evaluate.external}})
        run.metrics({"images": {one["name"]: one["counts"] for one in sets}})
        run.metrics({"trained_on": {one["name"]: one["trained_on"] for one in sets}})
        run.files([paths.EXTERNAL_SUMMARY])
    for one in sets:
        counts, trained_on = one["counts"], one["trained_on"]
        print(
            f"{one['name']}: {counts['real']} real, {counts['fake']} fake, "
            f"{one['bad']['count']} unusable; of train or valid: {trained_on['copies']} copies, "
            f"{trained_on['near']} near-duplicates"
        )


def _pack(settings: params.Params) -> list[dict[str, Any]]:
    """Pack every set; returns what is said about each in the summary."""
    trained = external.Trained.read(paths.IMAGES, paths.METADATA)
    sets = []
    with replacing_directory(paths.EXTERNAL) as partial:
        for chosen in settings.evaluate.external:
            with external.opened(chosen, settings.data) as source:
                target = partial / chosen.name
                sets.append(
                    external.pack(source, chosen, settings.data, settings.seed, trained, target)
                )
        write_json(partial / paths.EXTERNAL_SUMMARY.name, {"sets": sets})
    return sets


if __name__ == "__main__":
    main()
