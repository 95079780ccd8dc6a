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
    ExternalParams,
    FolderParams,
    KaggleParams,
    NearDuplicateParams,
    SampleParams,
    source_name,
)
from deepfake.params.file import (
    load,
    validate,
)
from deepfake.params.models import (
    ALPHAS,
    AugmentParams,
    BackboneParams,
    CnnParams,
    DrawParams,
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
    ExportParams,
    Params,
    Rule,
    TrackingParams,
    UncertainParams,
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
    "DrawParams",
    "EmbedParams",
    "EvaluateParams",
    "ExecutionParams",
    "ExportParams",
    "ExternalParams",
    "FineTuneParams",
    "FolderParams",
    "KaggleParams",
    "NearDuplicateParams",
    "Params",
    "Rule",
    "SampleParams",
    "Section",
    "TrackingParams",
    "TrainParams",
    "TransferParams",
    "UncertainParams",
    "load",
    "source_name",
    "validate",
]
