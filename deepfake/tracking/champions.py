"""The image models in MLflow's registry, and the alias `champion` of the one to use.

A version has the tag `detector_sha256`, by which a model is known, and `replaced`, the version that
was the champion before it.
"""

from collections.abc import Mapping
from typing import Any

from deepfake.common.errors import PipelineError
from deepfake.tracking.connection import client
from deepfake.tracking.store import Found

ALIAS = "champion"
_DETECTOR, _REPLACED = "detector_sha256", "replaced"


def champion(name: str) -> str | None:
    """The version of the registered model `name` that is the champion; None if none is."""
    if not client().search_registered_models(f"name = '{name}'"):
        return None
    number = client().get_registered_model(name).aliases.get(ALIAS)
    return None if number is None else str(number)


def version_of(name: str, detector_sha256: str) -> str | None:
    """The version that is this detector, if it was registered."""
    for version in client().search_model_versions(f"name = '{name}'"):
        if version.tags.get(_DETECTOR) == detector_sha256:
            return str(version.version)
    return None


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
    if not api.search_registered_models(f"name = '{name}'"):
        api.create_registered_model(name)
    known = {_DETECTOR: row.tags[_DETECTOR], **({_REPLACED: before} if before else {})}
    version = api.create_model_version(
        name,
        f"models:/{model.model_id}",
        row.run_id,
        {**{key: str(value) for key, value in tags.items()}, **known},
        model_id=model.model_id,
    ).version
    api.set_registered_model_alias(name, ALIAS, version)  # last: it is what others look at
    return str(version)


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
