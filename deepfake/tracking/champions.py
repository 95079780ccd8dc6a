"""The image models in MLflow's registry, and the alias `champion` of the one to use.

A version has the tag `detector_sha256`, by which a model is known, `replaced`, the version that was
the champion before it, and `promoted` once it has been the champion.
"""

from collections.abc import Mapping
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.common.filters import named
from deepfake.tracking.connection import client
from deepfake.tracking.store import Found

ALIAS = "champion"
_DETECTOR, _REPLACED, _PROMOTED = "detector_sha256", "replaced", "promoted"


def champion(name: str) -> str | None:
    """The version of the registered model `name` that is the champion; None if none is."""
    if not client().search_registered_models(named(name)):
        return None
    number = client().get_registered_model(name).aliases.get(ALIAS)
    return None if number is None else str(number)


def version_of(name: str, detector_sha256: str) -> str | None:
    """The version that is this detector, if it was registered and has been the champion."""
    found = _version_of(name, detector_sha256)
    return str(found.version) if found and _PROMOTED in found.tags else None


def _version_of(name: str, detector_sha256: str) -> Any:
    """The version that is this detector; None if there is none."""
    versions = client().search_model_versions(named(name))
    return next((one for one in versions if one.tags.get(_DETECTOR) == detector_sha256), None)


def add(name: str, row: Found, tags: Mapping[str, Any]) -> str:
    """Register the model of a row and make it the champion.

    Args:
        row: whose model has its files.
        tags: of the version.

    Returns:
        The version.
    """
    api = client()
    (model,) = api.get_run(row.run_id).outputs.model_outputs
    before = champion(name)
    if not api.search_registered_models(named(name)):
        api.create_registered_model(name)
    known = {_DETECTOR: row.tags[_DETECTOR], **({_REPLACED: before} if before else {})}
    # One whose registration was interrupted is there already.
    version = _version_of(name, row.tags[_DETECTOR]) or api.create_model_version(
        name,
        f"models:/{model.model_id}",
        row.run_id,
        {**{key: str(value) for key, value in tags.items()}, **known},
        model_id=model.model_id,
    )
    number = str(version.version)
    api.set_registered_model_alias(name, ALIAS, number)  # after the rest: others look at it
    api.set_model_version_tag(name, number, _PROMOTED, "true")
    return number


def back(name: str) -> tuple[str, str]:
    """Make the version before the champion the champion again.

    Returns:
        The version that was the champion, and the one that is now.

    Raises:
        PipelineError: there is none.
    """
    now = champion(name)
    if now is None:
        raise PipelineError(f"{name} has no champion: `make register` makes the first one")
    before = client().get_model_version(name, now).tags.get(_REPLACED)
    if before is None:
        raise PipelineError(f"version {now} of {name} was the first champion: none was before it")
    client().set_registered_model_alias(name, ALIAS, before)
    return now, before
