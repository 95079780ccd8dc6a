"""Values in MLflow's filter strings."""


def quoted(value: str) -> str | None:
    """`value` as MLflow's filter strings take it; None if it has both kinds of quotes, for which
    they know no escape."""
    return next((f"{quote}{value}{quote}" for quote in "'\"" if quote not in value), None)
