"""Stage `check`: refuse unusable parameters before DVC removes an output of any other stage.

It runs first and whenever params.yaml or versions.yaml has changed. What it writes never changes,
so that no other stage runs again because of it.
"""

from pathlib import Path

from deepfake import params
from deepfake.common import paths
from deepfake.common.files import write_text
from deepfake.exporting import formats
from deepfake.inference import extraction
from deepfake.ingest import external, planning
from deepfake.models import registry, tensorflow_setup
from deepfake.sources import open_source
from deepfake.training import recipes
from stages.inputs import locked
from stages.running import stage


@stage
def main() -> None:
    # After `dvc exp run -S`, git takes a changed file of the same size for the committed one, and
    # would not restore it. A newer time makes git compare.
    Path("params.yaml").touch()
    settings = params.load()
    recipes.check(settings)
    if settings.train.recipe == "probe" and settings.execution.executor == "local":
        extraction.chosen_engine(settings.embed.engine, settings.backbone.precision)
    formats.check(settings.export.formats)
    _check_sources(settings)
    wanted = settings.backbone.weights == "imagenet" and settings.train.recipe != "cnn"
    if wanted and not registry.imagenet_file(settings.backbone).exists():
        tensorflow_setup.start(seed=settings.seed, precision="float32")
        registry.initial(settings.backbone)  # downloads them
    write_text(paths.CHECKED, "The parameters can be used.\n")


def _check_sources(settings: params.Params) -> None:
    """Look at the layout, the labels and the splits of sources that were not ingested before, but
    for Kaggle's, which `ingest` downloads."""
    if settings.data.source != "kaggle" and settings.data.model_dump() != _last("ingest", "data"):
        with open_source(settings.data, settings.seed) as source:
            planning.check_offer(source.offer(), settings.data, settings.seed)
    sets = settings.evaluate.external
    given = [chosen.model_dump(exclude_unset=True) for chosen in sets]
    if given != _last("external", "evaluate.external"):
        for chosen in sets:
            with external.opened(chosen, settings.data) as source:
                source.offer()


def _last(stage: str, name: str) -> object:
    """The value of a parameter that a stage last ran with, so that its sources can be used."""
    known = locked().get(stage, {})
    return known.get("params", {}).get("params.yaml", {}).get(name)


if __name__ == "__main__":
    main()
