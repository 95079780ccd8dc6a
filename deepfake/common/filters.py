"""Values in MLflow's filter strings."""

from deepfake.common.errors import PipelineError


def quoted(value: str) -> str | None:
    """`value` as MLflow's filter strings take it; None if it has both kinds of quotes, for which
    they know no escape."""
    return next((f"{quote}{value}{quote}" for quote in "'\"" if quote not in value), None)


def named(name: str) -> str:
    """The filter that finds what is called `name`.

    Raises:
        PipelineError: it has both kinds of quotes.
    """
    inside = quoted(name)
    if inside is None:
        raise PipelineError(f"MLflow cannot find a name with both kinds of quotes: {name}")
    return f"name = {inside}"
