"""The C2PA manifest of an image file ("Content Credentials"): who made it, how, and whether it is
as its signer left it. It is read by `c2pa-python`, where that is installed."""

import io
import json
from collections.abc import Mapping
from typing import Any

from deepfake.common.text import shown

PACKAGE = "c2pa-python"
# The label of every manifest store; a file without it has none.
_MARK = b"jumdc2pa"
_MIME = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp",
    "GIF": "image/gif", "TIFF": "image/tiff",
}  # fmt: skip
# A file must not make this program call an address that it names.
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_STATES = {
    "Trusted": "valid: as its signer left it, and the signer is trusted",
    "Valid": "valid: as its signer left it; whether the signer can be trusted is not checked",
    "Invalid": "INVALID: changed after it was signed, or not signed properly",
}
_MOST_ACTIONS = 20


def read(data: bytes, format: str) -> dict[str, Any] | None:
    """Read the active manifest of an image file; nothing is fetched from the network.

    Args:
        data: the file.
        format: as Pillow names it.

    Returns:
        None if there is no manifest. Else `generator` (the program that made the claim), `actions`
        (what was done, with the digital source type where it is given), `signer`, `state`
        (`Trusted`, `Valid` or `Invalid`) and `problems` (codes of the C2PA standard); or `error`
        alone, which says why the manifest cannot be read.
    """
    if _MARK not in data or format not in _MIME:
        return None
    try:
        import c2pa  # type: ignore[import-untyped]
    except ImportError:
        return {"error": f"there is one; to read it, install {PACKAGE}"}
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
        reader = c2pa.Reader.try_create(_MIME[format], io.BytesIO(data), context=context)
        return _summary(json.loads(reader.json())) if reader else None
    except (
        Exception
    ) as error:  # the bytes may come from anyone, as may what the library makes of it
        return {"error": f"there is one that cannot be read: {shown(str(error))}"}


def lines(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What `read` returned in words: what each fact is about, and the fact."""
    if found is None:
        return [("C2PA manifest", "none")]
    if "error" in found:
        return [("C2PA manifest", found["error"])]
    state = _STATES.get(found["state"], found["state"])
    if problems := found["problems"]:
        state += f" ({', '.join(problems)})"
    return [
        ("C2PA manifest", state),
        ("C2PA generator", found["generator"] or "not named"),
        ("C2PA signer", found["signer"] or "not named"),
        ("C2PA actions", ", ".join(found["actions"]) or "none"),
    ]


def _summary(store: Mapping[str, Any]) -> dict[str, Any]:
    manifest = store["manifests"][store["active_manifest"]]
    infos = manifest.get("claim_generator_info") or []
    names = [f"{info.get('name', '')} {info.get('version') or ''}".strip() for info in infos]
    signature = manifest.get("signature_info") or {}
    actions = [
        _action(action)
        for assertion in manifest.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])[:_MOST_ACTIONS]
    ]
    return {
        "generator": shown(", ".join(names) or str(manifest.get("claim_generator") or "")),
        "actions": actions,
        "signer": shown(str(signature.get("common_name") or signature.get("issuer") or "")),
        "state": shown(str(store.get("validation_state", "Invalid"))),
        # That the signer is on no list of this machine says nothing about the file.
        "problems": [
            shown(str(item.get("code")))
            for item in store.get("validation_status") or []
            if item.get("code") != "signingCredential.untrusted"
        ][:_MOST_ACTIONS],
    }


def _action(action: Mapping[str, Any]) -> str:
    """An action with the kind of its source, such as `c2pa.created (trainedAlgorithmicMedia)`."""
    kind = str(action.get("digitalSourceType") or "").rsplit("/", 1)[-1]
    name = str(action.get("action"))
    return shown(f"{name} ({kind})" if kind else name)
