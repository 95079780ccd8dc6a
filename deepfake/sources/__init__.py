"""Where images come from: drawn by the project, downloaded from Kaggle, or a folder."""

from deepfake.params import DataParams
from deepfake.sources.base import Source


def open_source(params: DataParams, seed: int) -> Source:
    """The source that `data.source` names; to be used as a context manager.

    Raises:
        PipelineError: it cannot be had: no such path, no credentials, a failed download.
    """
    # Imported late: each brings packages that the others can do without.
    if params.source == "sample":
        from deepfake.sources.sample import SampleSource

        return SampleSource(params.sample, seed)
    if params.source == "kaggle":
        from deepfake.sources.kaggle import open_kaggle

        return open_kaggle(params.kaggle, params.folder, params.archive)
    from deepfake.sources.folder import open_folder

    return open_folder(params.folder, params.archive)
