"""The parts of the page: results of a batch, one image in detail, what the model knows."""

import base64
from typing import TYPE_CHECKING

import streamlit as st

from deepfake.common.text import shown
from deepfake.serving import downloads, file_facts, words
from deepfake.serving.description import Description
from deepfake.serving.detector import Detector, NamedImage
from deepfake.serving.examination import Examination, scored_pixels

if TYPE_CHECKING:
    from deepfake.serving.explanation import Explanation

_REFUSED, _OUTSIDE = ":material/block:", ":material/warning:"
# How a verdict is shown; colour is never the only difference.
_BOXES = {
    "fake": (st.error, ":material/report:"),
    "real": (st.success, ":material/check_circle:"),
    "uncertain": (st.warning, ":material/help:"),
}


def results(detector: Detector, files: dict[str, NamedImage], examined: list[Examination]) -> None:
    """Show all images as a table if there are several, and one of them in detail."""
    numbers = list(files)
    chosen = 0
    if len(numbers) > 1:
        st.header("Results", anchor="results")
        _table(examined, detector.description)
        st.header("One image", anchor="image")
        chosen = st.selectbox(
            "Image to look at",
            range(len(numbers)),
            format_func=lambda index: _option(index, examined[index]),
        )
    else:
        st.header("Result", anchor="result")
    _detail(detector, numbers[chosen], files[numbers[chosen]], examined[chosen])


def knowledge(description: Description) -> None:
    """What the model was trained on, and how far that carries."""
    st.header("What the model knows", anchor="knowledge")
    st.write(words.knowledge(description))
    st.table(words.evaluation_rows(description), hide_index=True)
    if not description.evaluation["external"]:
        st.write("It was not tried on data of another source.")
    for note in description.notes:
        st.write(words.plain(note))


def _option(index: int, one: Examination) -> str:
    return f"{index + 1}. {shown(one.prediction.name)}: {words.short(one.prediction)}"


def _table(examined: list[Examination], description: Description) -> None:
    """All images, sortable, to download as CSV and as the report."""
    verdicts = [one.prediction.verdict for one in examined]
    counts = {name: verdicts.count(name) for name in ("fake", "uncertain", "real", None)}
    st.write(
        f"{len(examined)} images: **{counts['fake']} fake**, {counts['uncertain']} uncertain, "
        f"{counts['real']} real, {counts[None]} refused."
    )
    st.dataframe(
        {
            "image": [_data_address(one.thumbnail) for one in examined],
            "verdict": [words.signed(one.prediction.verdict) for one in examined],
            "P(fake)": [one.prediction.score for one in examined],
            "name": [shown(one.prediction.name) for one in examined],
            "remark": [one.prediction.reason or one.doubt or "" for one in examined],
        },
        column_config={
            "image": st.column_config.ImageColumn(width="small"),
            "P(fake)": st.column_config.NumberColumn(format="%.3f", width="small"),
        },
        row_height=56,
        hide_index=True,
        alt="Each image with its verdict, score, name and remark.",
    )
    st.caption("Click a column's header to sort by it.")
    as_csv, as_report = st.columns(2)
    as_csv.download_button(
        "Download as CSV",
        downloads.as_csv(examined),
        "scores.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
    as_report.download_button(
        "Download as report (HTML)",
        lambda: downloads.as_report(examined, description),  # made when it is asked for
        "scores.html",
        "text/html",
        on_click="ignore",
        width="stretch",
    )


def _detail(detector: Detector, number: str, file: NamedImage, one: Examination) -> None:
    """All that is known of one image."""
    prediction = one.prediction
    if prediction.score is None or prediction.verdict is None:
        said = f"{words.plain(file.name)} cannot be used: {words.plain(str(prediction.reason))}."
        st.error(f"{said} {words.advice(str(prediction.reason))}", icon=_REFUSED)
        return
    box, icon = _BOXES[prediction.verdict]
    box(words.headline(prediction.score, prediction.verdict), icon=icon)
    st.write(words.meaning(prediction.verdict, detector.description))
    st.write(words.CAUTION)
    _face(one)
    _explanation(detector, number, file, one)
    st.subheader("What the file says about itself", anchor="file")
    facts = file_facts.lines(file_facts.file_facts(file.data))
    st.table([{"about": about, "says": words.plain(fact)} for about, fact in facts])
    st.caption("Anyone can write this into a file. Only a valid C2PA signature proves something.")


def _face(one: Examination) -> None:
    """The image with its face framed, and the crop around it."""
    st.subheader("Image and face", anchor="face")
    if one.doubt:
        st.warning(f"Outside what the model knows: {words.plain(one.doubt)}", icon=_OUTSIDE)
    whole, crop = st.columns(2)
    name = shown(one.prediction.name)
    frame = ", the face framed" if one.face else ""
    scored = " (scored)"
    whole.image(
        one.preview,
        f"The image{frame}{'' if one.on_crop else scored}",
        alt=f"{name}, as uploaded{frame}",
    )
    if one.crop:
        crop.image(
            one.crop,
            f"The crop around the face{scored if one.on_crop else ''}",
            alt=f"The face in {name}, cut out",
        )


def can_explain(detector: Detector) -> bool:
    """Whether the detector can show where a score comes from."""
    return detector.description.explanation["method"] not in (None, "none")


def _explanation(detector: Detector, number: str, file: NamedImage, one: Examination) -> None:
    """Where the score comes from; computed once for the image that is looked at."""
    if not can_explain(detector):
        return
    st.subheader("Where the score comes from", anchor="explanation")
    key = (detector.description.digest, number, one.on_crop)
    if st.session_state.get("explained", (None,))[0] != key:
        with st.spinner("Looking for where the score comes from …"):
            pixels = scored_pixels(file, one)
            st.session_state["explained"] = (key, detector.explain(pixels))
    _overlay(st.session_state["explained"][1])


@st.fragment  # a moved slider draws this again, and nothing else of the page
def _overlay(explanation: "Explanation") -> None:
    opacity = st.slider("Opacity of the colours, in percent", 0, 100, 60, step=5)
    where = words.strongest(explanation.heat)
    st.image(
        explanation.overlay(opacity / 100),
        "The square that the model sees. Orange speaks for fake, blue for real.",
        alt=f"The square that the model sees, under colours. Of its nine fields, {where}.",
    )
    st.write(f"Of the nine fields of the square, {where}. Found by: {explanation.method}.")


def _data_address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""
