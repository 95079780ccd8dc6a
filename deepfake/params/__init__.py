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
    DrawParams,
    EmbedParams,
    FineTuneParams,
    TrainParams,
)
from deepfake.params.schema import (
    BaselineParams,
    CompareParams,
    EvaluateParams,
    ExecutionParams,
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
    "CompareParams",
    "CsvParams",
    "DataParams",
    "DrawParams",
    "EmbedParams",
    "EvaluateParams",
    "ExecutionParams",
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
    "UncertainParams",
    "load",
    "parse_yaml",
    "validate",
]
