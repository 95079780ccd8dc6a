"""The service: a small FastAPI application over a `Detector`.

An answer names a reason for everything that it refuses. Uploads stay in memory.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect

from deepfake.common.environment import cores
from deepfake.common.text import shown
from deepfake.data import images
from deepfake.serving import encoded
from deepfake.serving.detector import Detector
from deepfake.serving.limits import Bounded, Limits

_Sent = list[tuple[str, str | bytes]]  # names and images, as bytes or base64

# By `format`, which FastAPI leaves out, its page offers to choose files.
_FILES = File(
    description="one image file or several",
    json_schema_extra={"items": {"type": "string", "format": "binary"}},
)

_ABOUT = """\
Is the face in an image real or fake? The score is the calibrated probability that it is fake. The
verdict is `uncertain` between two limits, which `/model` names.

An image that cannot be used has a `reason` instead of a score. If no image of a request can be
used, the status is 422."""


class Row(BaseModel):
    """What the detector says of one image."""

    name: str
    score: float | None = Field(description="P(fake), calibrated; null if the image was refused")
    verdict: str | None = Field(description="real, fake or uncertain; null if it was refused")
    reason: str | None = Field(description="why the image was refused; null if it was not")


class Answer(BaseModel):
    """What the detector says of the images of a request, in their order."""

    predictions: list[Row]


class Encoded(BaseModel):
    """Images in JSON."""

    images: list[str] = Field(min_length=1, description="image files in base64")


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str


def create(detector: Detector, limits: Limits | None = None) -> FastAPI:
    """Make the application.

    Args:
        limits: by default those of `Limits`.
    """
    limits = limits or Limits()
    # Starlette would put a larger file on the disk.
    MultiPartParser.spool_max_size = limits.body_bytes
    app = FastAPIOffline(
        title="Deepfake detector",
        description=_ABOUT,
        version=detector.description.digest[:12],
        redoc_url=None,
        form_limits={"max_files": limits.images, "max_fields": 1},
    )
    app.add_middleware(Bounded, limits=limits)
    app.add_exception_handler(RequestValidationError, _not_as_expected)
    app.add_exception_handler(Exception, _failed)
    _add_predictions(app, _Scoring(detector, limits))
    _add_facts(app, detector)
    return app


def _add_predictions(app: FastAPI, scoring: "_Scoring") -> None:
    refused: dict[int | str, dict[str, Any]] = {
        400: {"model": Refusal, "description": "The body is broken"},
        408: {"model": Refusal, "description": "The body did not arrive in time"},
        413: {"model": Refusal, "description": "Too many bytes, images or pixels"},
        422: {"model": Answer | Refusal, "description": "No image can be used"},
        503: {"model": Refusal, "description": "Too many requests at a time; see Retry-After"},
    }
    body = {"content": {"application/json": {"schema": Encoded.model_json_schema()}}}

    @app.post("/predict", response_model=Answer, responses=refused)
    async def predict_files(
        files: Annotated[list[UploadFile], _FILES],
    ) -> JSONResponse:
        """Score image files that are uploaded as a form."""
        return await scoring.answer([(file.filename or "", await file.read()) for file in files])

    @app.post(
        "/predict/base64",
        response_model=Answer,
        responses=refused,
        openapi_extra={"requestBody": {**body, "required": True}},
    )
    async def predict_base64(request: Request) -> JSONResponse:
        """Score image files in JSON, as base64."""
        try:
            body = await request.body()
        except ClientDisconnect:  # nobody reads the answer; without it the log would have a fault
            raise HTTPException(400, "the body broke off") from None
        sent = scoring.parsed(body)
        return await scoring.answer([("", text) for text in sent.images])


def _add_facts(app: FastAPI, detector: Detector) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the service answers."""
        return {"status": "ok"}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Which detector this is: its limits, how well it did, and what it was trained on."""
        return asdict(detector.description)


class _Scoring:
    """The detector, used by as many requests at a time as there are processors."""

    def __init__(self, detector: Detector, limits: Limits) -> None:
        self._detector = detector
        self._limits = limits
        self._processors = asyncio.Semaphore(cores())

    def parsed(self, body: bytes) -> Encoded:
        """The images of a body in JSON.

        Raises:
            HTTPException: it is something else.
        """
        # Base64 has none of these characters. Parsing a body full of them would take 20 times its
        # memory.
        if sum(body.count(mark) for mark in (b",", b"[", b"{")) > 4 * self._limits.images + 8:
            raise HTTPException(413, f"the body is not a list of {self._most()}")
        try:
            return Encoded.model_validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, _sentence(error.errors()[0])) from None

    async def answer(self, sent: _Sent) -> JSONResponse:
        """What the detector says of the images.

        Raises:
            HTTPException: they are too many or too large, or the service is busy.
        """
        if len(sent) > self._limits.images:
            raise HTTPException(413, f"{len(sent)} images in one request: send {self._most()}")
        named = [
            (shown(name) or f"image {number}", image)
            for number, (name, image) in enumerate(sent, start=1)
        ]
        async with self._processor():
            rows = await run_in_threadpool(self._predict, named)
        usable = any(row["score"] is not None for row in rows)
        return JSONResponse({"predictions": rows}, 200 if usable else 422)

    @asynccontextmanager
    async def _processor(self) -> AsyncIterator[None]:
        """Have a processor during the block."""
        seconds = self._limits.wait_seconds
        try:
            await asyncio.wait_for(self._processors.acquire(), seconds)
        except TimeoutError:
            raise HTTPException(
                503,
                f"no processor was free for {seconds:g} seconds: try again later",
                {"Retry-After": f"{seconds:.0f}"},
            ) from None
        try:
            yield
        finally:
            self._processors.release()

    def _predict(self, named: _Sent) -> list[dict[str, Any]]:
        files = encoded.files(named)
        pixels = sum(_pixels(data) for _, data in files if data)
        if pixels > self._limits.pixels:
            raise HTTPException(
                413,
                f"the images have {pixels / 1e6:.0f} million pixels together, more than "
                f"{self._limits.pixels / 1e6:g}: send fewer at a time",
            )
        return [found.as_dict() for found in encoded.predict(self._detector, files)]

    def _most(self) -> str:
        return f"at most {self._limits.images} images"


def _pixels(data: bytes) -> int:
    """How many pixels an image has that will be decoded, by its header."""
    with suppress(images.BadImage):
        facts = images.facts(data)
        return facts.width * facts.height
    return 0


async def _not_as_expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": _sentence(error.errors()[0])}, 422)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the service failed; its log says why"}, 500)


def _sentence(problem: Any) -> str:
    """What FastAPI or pydantic found wrong first, without the value, which may be large."""
    where = ".".join(str(part) for part in problem["loc"]) or "the body"
    return shown(f"{where}: {problem['msg']}; /docs shows what is expected")
