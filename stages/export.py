"""Stage `export`: the detector as a folder that is used without TensorFlow and this pipeline."""

import shutil
from functools import partial
from pathlib import Path

from deepfake import params
from deepfake.common import paths
from deepfake.exporting import agreement
from deepfake.exporting.export import export
from deepfake.models import tensorflow_setup
from deepfake.serving import description
from deepfake.tracking import experiment_rows
from deepfake.tracking.run import start_run
from stages.running import stage


@stage
def main() -> None:
    settings = params.load()
    with start_run(
        settings.tracking,
        stage="export",
        kind="data",
        after=partial(experiment_rows.ensure, Path(), settings, exported=True),
    ) as run:
        tensorflow_setup.start(seed=settings.seed, precision="float32")
        shutil.rmtree(paths.EXPORTED, ignore_errors=True)
        written, table = export(settings, paths.EXPORTED)
        run.tags({"detector": written.digest})
        run.files([paths.EXPORTED / description.FILE, paths.EXPORTED / agreement.TABLE])
        run.metrics(agreement.speeds(table))
    print(agreement.shown(table))
    print(f"{paths.EXPORTED}: {written.name}, {written.image_size} pixels, {written.digest[:12]}")


if __name__ == "__main__":
    main()
