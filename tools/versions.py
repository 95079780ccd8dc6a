"""Write versions.yaml: the versions of the packages that compute the pipeline's outputs.

`make lock` runs this after it compiles requirements.txt. Stages in dvc.yaml name the packages
that they compute with as parameters, so that DVC reruns them when a version changes. It uses the
standard library alone: `make lock` works before the environment is built.
"""

import re
from pathlib import Path

REQUIREMENTS = Path("requirements.txt")
VERSIONS = Path("versions.yaml")
COMPUTING = (
    "h5py", "joblib", "keras", "matplotlib", "numpy", "openvino", "pandas", "pillow", "pyarrow",
    "scikit-learn", "scipy", "tensorflow",
)  # fmt: skip


def pins(requirements: str) -> dict[str, str]:
    """Read the version of each package from compiled requirements.

    Args:
        requirements: The text of requirements.txt, with one `name==version` a line.

    Raises:
        ValueError: A package has two versions, each for some versions of Python.
    """
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", requirements, re.MULTILINE):
        if name in found:
            raise ValueError(f"{name} has two versions, {found[name]} and {version}: allow one")
        found[name] = version
    return found


def as_yaml(requirements: str) -> str:
    """Make the text of versions.yaml from the text of requirements.txt.

    Raises:
        ValueError: A package of `COMPUTING` is missing, a package has two versions, or
            TensorFlow's two distributions differ.
    """
    pinned = pins(requirements)
    missing = [name for name in COMPUTING if name not in pinned]
    if missing:
        raise ValueError(f"{REQUIREMENTS} has no version of {', '.join(missing)}")
    if pinned.get("tensorflow-cpu") != pinned["tensorflow"]:
        raise ValueError(
            f"tensorflow-cpu {pinned.get('tensorflow-cpu')} is not tensorflow "
            f"{pinned['tensorflow']}: allow one version of both, so that all machines agree"
        )
    lines = [
        "# Versions of the packages that compute outputs: parameters of the stages in dvc.yaml.",
        f"# Written by `make lock` (tools/versions.py) from {REQUIREMENTS}; do not edit.",
        *(f'{name}: "{pinned[name]}"' for name in sorted(COMPUTING)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write versions.yaml into the current folder."""
    VERSIONS.write_text(as_yaml(REQUIREMENTS.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
