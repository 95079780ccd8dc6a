"""The typed schema of `params.yaml`: the one way in which parameters enter the program.

Unknown keys, wrong types and values out of range are refused before any work starts.
"""

from deepfake.params.base import (
    Section,
)
from deepfake.params.data import (
    ArchiveParams,
    CsvParams,
    DataParams,
    FolderParams,
    KaggleParams,
    NearDuplicateParams,
    SampleParams,
)
from deepfake.params.file import (
    load,
    parse_yaml,
    validate,
)
from deepfake.params.models import (
    ALPHAS,
    AugmentParams,
    BackboneParams,
    CnnParams,
    EmbedParams,
    FineTuneParams,
    TrainParams,
    TransferParams,
)
from deepfake.params.schema import (
    BaselineParams,
    CompareParams,
    EvaluateParams,
    ExecutionParams,
    Params,
    TrackingParams,
)

__all__ = [
    "ALPHAS",
    "ArchiveParams",
    "AugmentParams",
    "BackboneParams",
    "BaselineParams",
    "CnnParams",
    "CompareParams",
    "CsvParams",
    "DataParams",
    "EmbedParams",
    "EvaluateParams",
    "ExecutionParams",
    "FineTuneParams",
    "FolderParams",
    "KaggleParams",
    "NearDuplicateParams",
    "Params",
    "SampleParams",
    "Section",
    "TrackingParams",
    "TrainParams",
    "TransferParams",
    "load",
    "parse_yaml",
    "validate",
]
