"""Where images come from: drawn by the project, downloaded from Kaggle, or a folder."""

from deepfake.params import DataParams
from deepfake.sources.base import Source
from deepfake.sources.folder import open_folder
from deepfake.sources.kaggle import open_kaggle
from deepfake.sources.sample import SampleSource
from deepfake.sources.several import open_folders


def open_source(params: DataParams, seed: int) -> Source:
    """Open the source that `data.source` names; use it as a context manager.

    Raises:
        PipelineError: the source is not available: no such path, no credentials, a failed download.
    """
    if params.source == "sample":
        return SampleSource(params.sample, seed)
    if params.source == "kaggle":
        return open_kaggle(params.kaggle, params.folder, params.archive)
    if len(params.folder.paths) > 1:
        return open_folders(params.folder, params.archive)
    return open_folder(params.folder, params.archive)
