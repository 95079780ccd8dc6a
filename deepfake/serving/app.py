"""The page: drop images, and see what the detector says of them. `make app` runs it.

Streamlit runs this file again for each user and each click. Users share the detector; what was
uploaded, and what was found out about it, is in the memory of a user's session alone.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from deepfake.common import paths
from deepfake.common.errors import PipelineError
from deepfake.data.images import MAX_PIXELS, SUFFIXES
from deepfake.serving import app_views, description, words
from deepfake.serving.detector import Detector, NamedImage
from deepfake.serving.examination import Examination, examine_all

MOST_FILES, MOST_MEGABYTES, FILE_MEGABYTES = 200, 500, 32  # the last as in .streamlit/config.toml

_CROP = "The crop around the face"


def main() -> None:
    st.set_page_config(page_title="Real or deepfake?", page_icon="🔎")
    st.title("Real or deepfake?")
    st.write(
        "A model looks at the pixels of a photograph of a face, and estimates the probability that "
        "it is fake. It is often right on images like those that it learned from, and knows "
        "nothing of others: [what the model knows](#knowledge)."
    )
    try:
        detector, on_crop = _settings()
        files = _uploaded()
        if files:
            app_views.results(detector, files, _examined(detector, files, on_crop))
        app_views.knowledge(detector.description)
    except PipelineError as error:
        st.error(words.plain(str(error), longest=2000), icon=":material/error:")


def _settings() -> tuple[Detector, bool]:
    """Let the user choose the model, and what of an image is scored."""
    with st.expander("Settings: model, whole image or face"):
        source = st.selectbox("Model", _sources(), help="A folder, or a registered model.")
        scored = st.radio(
            "What is scored",
            ["The whole image", _CROP],
            help="The score is right for images like those that the model was trained on. Choose "
            "the crop if those were crops around faces, and yours show more than a face.",
        )
    folder = Path(source) / description.FILE
    changed = folder.stat().st_mtime if folder.is_file() else None
    return _detector(source, changed), scored == _CROP


def _sources() -> list[str]:
    """The model that the page was started with, and the registered ones if there is a registry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=paths.EXPORTED.as_posix())
    first = parser.parse_args().model
    if not (os.environ.get("MLFLOW_TRACKING_URI") or Path("mlflow.db").exists()):
        return [first]
    if not st.checkbox("Show the models of MLflow's registry"):
        return [first]
    return [first, *_registered()]


@st.cache_resource(ttl=60, show_spinner="Asking MLflow's registry …")
def _registered() -> Sequence[str]:
    from deepfake.serving import registry

    return tuple(one.source for one in registry.registered())


@st.cache_resource(ttl=600, max_entries=3, show_spinner="Loading the model …")
def _detector(source: str, changed: float | None) -> Detector:
    """The detector, one for all users; loaded again when its folder is `changed`."""
    return Detector.load(source)


def _uploaded() -> dict[str, NamedImage]:
    """The images of this user, as far as the limits go, by Streamlit's number of the upload."""
    st.header("Images", anchor="images")
    uploads = st.file_uploader(
        f"Drop one image or up to {MOST_FILES}: at most {FILE_MEGABYTES} MB and "
        f"{MAX_PIXELS // 10**6} megapixels each, {MOST_MEGABYTES} MB together. They stay in this "
        "computer's memory until you remove them or close the page.",
        type=list(SUFFIXES),
        accept_multiple_files=True,
        max_upload_size=FILE_MEGABYTES,
    )
    taken: dict[str, NamedImage] = {}
    total = 0
    for upload in uploads:
        total += upload.size
        if len(taken) == MOST_FILES or total > MOST_MEGABYTES * 10**6:
            st.warning(
                f"These are {len(uploads)} images of {sum(one.size for one in uploads) / 1e6:,.0f} "
                f"MB; the first {len(taken)} are shown. Remove some, or use the command line.",
                icon=":material/warning:",
            )
            break
        taken[upload.file_id] = NamedImage(upload.name, upload.getvalue())
    return taken


def _examined(detector: Detector, files: dict[str, NamedImage], on_crop: bool) -> list[Examination]:
    """Examine the images that were not examined yet; others are as they were found."""
    former: dict[Any, Examination] = st.session_state.get("examined", {})
    keys = {(detector.description.digest, on_crop, number): file for number, file in files.items()}
    # What was removed is forgotten.
    found = {key: former[key] for key in keys if key in former}
    st.session_state["examined"] = found
    missing = {key: file for key, file in keys.items() if key not in found}
    if missing:
        bar = st.progress(0.0, "Looking at the images …")
        examined = examine_all(detector, missing.values(), on_crop=on_crop)
        for number, (key, one) in enumerate(zip(missing, examined, strict=True), start=1):
            found[key] = one
            bar.progress(number / len(missing), f"Image {number} of {len(missing)}")
        bar.empty()
    return [found[key] for key in keys]


main()
