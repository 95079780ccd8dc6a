"""Portraits drawn by the project itself: the sample data set that needs no account or network.

A test card, not a benchmark: it shows that every stage does its work, in minutes, on any machine.
Each image is a procedural portrait (skin, hair, eyes, mouth, light, background), photographed by
a procedural camera (lens blur, vignetting, sensor noise) and written by one JPEG encoder. Real
images (label 0) stop there. Fake images (label 1) are portraits of *other* people from the same
distribution, whose inner face is manipulated between the camera and the encoder, with one or
several of `MANIPULATIONS`:

``warp``
    The face is replaced by a version of itself synthesised at a lower resolution, warped into
    place and blended over a soft boundary with slightly different colour. Face swaps do this
    because their networks produce faces of one fixed, small size: Li & Lyu 2018, "Exposing
    DeepFake Videos By Detecting Face Warping Artifacts" (arXiv 1811.00656); the blending boundary
    is what Li et al. 2020, "Face X-ray for More General Face Forgery Detection" (arXiv 1912.13458)
    look for.
``grid``
    A periodic texture of periods 4 and 8 pixels, as two upsampling stages leave it whose
    kernels overlap unevenly: Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"
    (doi 10.23915/distill.00003); Durall et al. 2020, "Watch your Up-Convolution" (arXiv 2003.01826)
    show the same as a bent power spectrum. It is locked to the pixels and the same in every fake
    but for its level, as the fingerprint of one generator is: Marra et al. 2019, "Do GANs leave
    artificial fingerprints?" (arXiv 1812.11842).
``noise``
    Noise in the face that does not match its surroundings, in either direction: smoothed away, or
    stronger than the sensor's. A spliced face brings the noise of another camera, or of none: Zhou
    et al. 2017, "Two-Stream Neural Networks for Tampered Face Detection" (arXiv 1803.11276).

Encoder quality, chroma subsampling, noise and blur are drawn independently of the label, and the
manipulations that cost bytes balance those that save them, so that the files' metadata says
nothing about the label. A few fakes are nearly flawless, which keeps scores below 1.

Almost every fake has the grid, because it is what a network with random weights can see: its
strided convolutions sample a pattern of period 4 or 8 always at the same phase, and so turn it into
a shift of their mean activation. That holds where the network is shown images at their own size
or enlarged by a power of 2 (192 to 384, say). At 256 to 384 the phases drift and random weights see
less; networks that have learnt textures see the same.

Nothing is drawn from global state: an image depends on the arguments of `render` alone, and
images can be rendered in any order and in any number of processes. Arithmetic is elementwise
float64 (no BLAS, no threads), so last-bit differences between processors are about 1e12 times
smaller than a grey level.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]

MANIPULATIONS: tuple[str, ...] = ("warp", "grid", "noise")
# How often each is used in a fake, and how many fakes are nearly flawless: a tenth of the strength.
FREQUENCY = {"warp": 0.45, "grid": 0.99, "noise": 0.6}
FLAWLESS = 0.03
PERIODS = (4, 8)  # pixels; of the grid, one for each upsampling stage
MINIMUM_SIZE, MAXIMUM_SIZE = 64, 1024
MAXIMUM_STRENGTH = 4.0

# Colours are sRGB in [0, 1]. Skin runs from light to deep and is interpolated, hair is picked.
SKIN = np.array(
    [
        (0.97, 0.84, 0.76), (0.94, 0.77, 0.66), (0.87, 0.68, 0.54), (0.76, 0.56, 0.42),
        (0.62, 0.43, 0.31), (0.47, 0.31, 0.22), (0.34, 0.22, 0.16),
    ]
)  # fmt: skip
HAIR = np.array(
    [
        (0.09, 0.07, 0.07), (0.16, 0.11, 0.09), (0.27, 0.17, 0.11), (0.40, 0.25, 0.15),
        (0.52, 0.26, 0.13), (0.70, 0.52, 0.29), (0.85, 0.72, 0.48), (0.58, 0.57, 0.57),
        (0.86, 0.85, 0.83), (0.18, 0.44, 0.48), (0.74, 0.38, 0.50),
    ]
)  # fmt: skip
HAIR_ODDS = np.array([5, 5, 5, 4, 2, 3, 2, 2, 1, 0.5, 0.5]) / 30.0
IRIS = np.array(
    [(0.25, 0.15, 0.09), (0.38, 0.24, 0.12), (0.33, 0.48, 0.62), (0.35, 0.48, 0.33),
     (0.50, 0.52, 0.54), (0.55, 0.42, 0.20)]
)  # fmt: skip
CLOTHES = np.array(
    [(0.20, 0.27, 0.40), (0.62, 0.22, 0.21), (0.86, 0.82, 0.74), (0.24, 0.37, 0.30),
     (0.85, 0.63, 0.25), (0.23, 0.22, 0.25), (0.48, 0.34, 0.47), (0.42, 0.58, 0.67),
     (0.80, 0.50, 0.42), (0.90, 0.90, 0.91)]
)  # fmt: skip
HAIRCUTS = ("short", "quiff", "fringe", "bob", "long", "curly", "bun", "bald", "beanie")
HAIRCUT_ODDS = np.array([4, 4, 3, 3, 5, 4, 2, 1.5, 1.5]) / 28.0


def render(*, label: int, seed: int, index: int, size: int = 256, strength: float = 1.0) -> bytes:
    """Draws one portrait and returns it as an encoded JPEG file.

    Args:
        label: 0 for a real, 1 for a fake. Other people are drawn for each label.
        seed: Names the set of portraits, >= 0.
        index: Number of the portrait in its set and label, >= 0.
        size: Width and height in pixels, 64 to 1024.
        strength: Scales how visible the manipulations of a fake are, over 0 and at most 4.
            Real portraits do not depend on it.

    Returns:
        The bytes of a JPEG file, `size` x `size`, RGB, without EXIF. The same arguments give the
        same bytes (for one version of NumPy and of Pillow).

    Raises:
        ValueError: If an argument is out of range.
    """
    _check(label=label, seed=seed, index=index, size=size, strength=strength)
    # glibc returns large blocks to the system when they are freed, and the page faults would cost
    # a third of the time; once it has seen a block larger than all of ours freed, it keeps them.
    np.empty(2**21)
    scene, camera, forger, encoder = _streams(label, seed, index)
    planes, face = _draw(scene, size)
    planes = _photograph(planes, camera)
    if label == 1:
        planes = _manipulate(planes, face, forger, strength)
    return _encode(planes, encoder)


def contact_sheet(rows: int, columns: int, *, seed: int, size: int = 128) -> Image.Image:
    """Returns `rows` rows of real portraits above as many rows of fakes, `columns` a row."""
    sheet = Image.new("RGB", (columns * size, 2 * rows * size))
    for place in range(2 * rows * columns):
        label, index = divmod(place, rows * columns)
        image_file = Image.open(io.BytesIO(render(label=label, seed=seed, index=index, size=256)))
        row, column = divmod(place, columns)
        thumbnail = image_file.resize((size, size), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (column * size, row * size))
    return sheet


def _check(*, label: int, seed: int, index: int, size: int, strength: float) -> None:
    if label not in (0, 1):
        raise ValueError(f"`label` must be 0 (real) or 1 (fake). Received `label={label!r}`")
    for name, value in (("seed", seed), ("index", index)):
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise ValueError(f"`{name}` must be an integer >= 0. Received `{name}={value!r}`")
    if not isinstance(size, (int, np.integer)) or not MINIMUM_SIZE <= size <= MAXIMUM_SIZE:
        raise ValueError(
            f"`size` must be an integer from {MINIMUM_SIZE} to {MAXIMUM_SIZE}. "
            f"Received `size={size!r}`"
        )
    if not 0 < strength <= MAXIMUM_STRENGTH:
        raise ValueError(
            f"`strength` must be over 0 and at most {MAXIMUM_STRENGTH}. "
            f"Received `strength={strength!r}`"
        )


def _streams(label: int, seed: int, index: int) -> list[Generator]:
    """Independent generators for the scene, the camera, the manipulation and the encoder."""
    root = SeedSequence([int(seed), int(label), int(index)])
    return [Generator(PCG64(child)) for child in root.spawn(4)]


# --- drawing tools --------------------------------------------------------------------------------


@dataclass
class _Canvas:
    """Planes (3, H, W) with the coordinates (H, W) of their pixels; crops share memory.

    Coordinates are in heads: the head's centre is the origin, its half height 1, `v` points down.
    Shapes are given as distances in that unit, negative inside, and painted with edges one pixel
    wide, which is what keeps them smooth.
    """

    planes: Array
    u: Array
    v: Array
    unit: float  # pixels per head unit

    def crop(self, u: float, v: float, half_u: float, half_v: float) -> _Canvas:
        step = 4  # looking at every fourth pixel is enough with that much to spare
        spare = step / self.unit
        inside = np.abs(self.u[::step, ::step] - u) <= half_u + spare
        inside &= np.abs(self.v[::step, ::step] - v) <= half_v + spare
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            rows = columns = np.array([0])
        box = np.s_[
            rows[0] * step : (rows[-1] + 1) * step, columns[0] * step : (columns[-1] + 1) * step
        ]
        return _Canvas(self.planes[(slice(None), *box)], self.u[box], self.v[box], self.unit)

    def edge(self, distance: Array, softness: float = 0.0) -> Array:
        """Coverage in [0, 1] of the shape whose distance is given; softness in head units."""
        t = distance * (-1.0 / (softness + 1.0 / self.unit))
        t += 0.5
        return _smooth(t)

    def paint(self, alpha: Array, colour: Array) -> None:
        for plane, value in zip(self.planes, colour, strict=True):
            change = value - plane
            change *= alpha
            plane += change

    def shade(self, alpha: Array, factor: float) -> None:
        """Multiplies the planes by `factor` where alpha is 1; shadows keep some red, as skin."""
        tint = np.array([factor + 0.25 * (1.0 - factor), factor, factor * factor**0.1])
        for plane, gain in zip(self.planes, tint, strict=True):
            plane *= 1.0 - alpha * (1.0 - gain)

    def ellipse(
        self, u: float, v: float, ru: float, rv: float, colour: Array,
        opacity: float = 1.0, softness: float = 0.0,
    ) -> None:  # fmt: skip
        part = self.crop(u, v, ru + softness + 0.05, rv + softness + 0.05)
        radius = np.sqrt(((part.u - u) / ru) ** 2 + ((part.v - v) / rv) ** 2)
        part.paint(opacity * part.edge((radius - 1.0) * min(ru, rv), softness), colour)

    def glow(self, u: float, v: float, ru: float, rv: float, colour: Array, opacity: float) -> None:
        part = self.crop(u, v, 2.0 * ru, 2.0 * rv)
        part.paint(opacity * part.blob(u, v, ru, rv), colour)

    def shadow(self, u: float, v: float, ru: float, rv: float, factor: float) -> None:
        part = self.crop(u, v, 2.0 * ru, 2.0 * rv)
        part.shade(part.blob(u, v, ru, rv), factor)

    def blob(self, u: float, v: float, ru: float, rv: float) -> Array:
        """A bump of height 1, close to exp(-r**2) but exactly 0 from r = 2 on."""
        square = ((self.u - u) * (0.5 / ru)) ** 2 + ((self.v - v) * (0.5 / rv)) ** 2
        bump: Array = np.square(np.square(np.maximum(1.0 - square, 0.0)))
        return bump


def _ramp(x: Array, start: float, stop: float) -> Array:
    """Smoothstep: 0 up to `start`, 1 from `stop` on."""
    t = x - start
    t *= 1.0 / (stop - start)
    return _smooth(t)


def _smooth(t: Array) -> Array:
    """3 t^2 - 2 t^3 with `t` held to [0, 1]; overwrites `t`."""
    np.clip(t, 0.0, 1.0, out=t)
    square = t * t
    t *= -2.0
    t += 3.0
    square *= t
    return square


def _texture(rng: Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Value noise in [-1, 1]: a random lattice of `cells`, interpolated smoothly to `shape`."""
    return _stretch(rng.uniform(-1.0, 1.0, cells), shape, smooth=True)


def _stretch(lattice: Array, shape: tuple[int, ...], smooth: bool = False) -> Array:
    """Interpolates the last two axes to `shape`, from corner to corner."""
    for axis, length in zip((-2, -1), shape, strict=True):
        place = np.arange(length) * ((lattice.shape[axis] - 1.001) / max(1, length - 1))
        first = place.astype(np.intp)
        share = _smooth(place - first) if smooth else place - first
        share = share[:, None] if axis == -2 else share
        near, far = np.take(lattice, first, axis), np.take(lattice, first + 1, axis)
        far -= near
        far *= share
        near += far
        lattice = near
    return lattice


def _strands(rng: Generator, place: Array, count: int) -> Array:
    """Noise in [-1, 1] along `place` (any range around [-1, 1]), about `count` strands wide."""
    knots = np.linspace(-2.2, 2.2, 2 * count)
    fine, coarse = rng.uniform(-1, 1, 2 * count), rng.uniform(-1, 1, 2 * count)
    detail = np.interp(place, knots, fine)
    return 0.6 * detail + 0.4 * np.interp(place * 0.23, knots, coarse)


def _mix(first: Array, second: Array, share: float) -> Array:
    return first + share * (second - first)


# --- the portrait ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Person:
    """Traits that several parts of the portrait share."""

    skin: Array
    hair: Array
    haircut: str
    width: float  # half width of the head, in head units
    jaw: float  # how far the jaw tapers
    square: float  # 0: elliptic, 1: square head
    light: tuple[float, float, float]
    eyes: tuple[float, float]  # distance from the middle, height
    mouth: float  # height of the mouth
    smile: float
    bearded: bool
    glasses: bool


def _person(rng: Generator) -> _Person:
    tone = rng.uniform(0.0, len(SKIN) - 1.001)
    skin = _mix(SKIN[int(tone)], SKIN[int(tone) + 1], tone - int(tone))
    dark = tone > 3.2  # deep skin mostly comes with dark hair
    odds = HAIR_ODDS * np.where(np.arange(len(HAIR)) > 3, 0.25 if dark else 1.0, 1.0)
    hair = HAIR[rng.choice(len(HAIR), p=odds / odds.sum())] * rng.uniform(0.85, 1.15)
    angle = rng.uniform(0.25, 1.1) * rng.choice((-1.0, 1.0))
    height = rng.uniform(0.15, 0.6)
    light = (np.sin(angle) * 0.8, -height, 0.75)
    haircut = str(rng.choice(HAIRCUTS, p=HAIRCUT_ODDS))
    norm = np.sqrt(sum(x * x for x in light))
    long = haircut in ("bob", "long", "bun", "fringe")
    return _Person(
        skin=np.clip(skin + rng.uniform(-0.02, 0.02, 3), 0.05, 0.99),
        hair=np.clip(hair, 0.03, 0.95),
        haircut=haircut,
        width=rng.uniform(0.70, 0.82),
        jaw=rng.uniform(0.16, 0.36),
        square=rng.uniform(0.0, 0.55),
        light=(light[0] / norm, light[1] / norm, light[2] / norm),
        eyes=(rng.uniform(0.31, 0.37), rng.uniform(-0.10, 0.0)),
        mouth=rng.uniform(0.50, 0.58),
        smile=rng.uniform(-0.03, 0.10),
        bearded=rng.random() < (0.05 if long else 0.4),
        glasses=rng.random() < 0.25,
    )


def _draw(rng: Generator, size: int) -> tuple[Array, Array]:
    """Returns the scene (3, size, size) in [0, 1] and the weight (size, size) of the inner face."""
    person = _person(rng)
    unit = size * rng.uniform(0.345, 0.395)
    tilt = rng.uniform(-0.17, 0.17)
    centre = size * (0.5 + rng.uniform(-0.045, 0.045, 2)) + np.array([0.0, -0.012 * size])
    x = (np.arange(size)[None, :] + 0.5 - centre[0]) / unit
    y = (np.arange(size)[:, None] + 0.5 - centre[1]) / unit
    planes = np.empty((3, size, size))
    body = _Canvas(planes, x + np.zeros_like(y), y + np.zeros_like(x), unit)
    head = _Canvas(
        planes, x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt), unit
    )
    yaw, pitch = rng.uniform(-0.13, 0.13), rng.uniform(-0.05, 0.05)
    # A turned head: the middle of the face moves most, its outline stays.
    turned = head.u - yaw * (1.0 - np.clip(head.u / person.width, -1, 1) ** 2)
    nodded = head.v - pitch * (1.0 - np.clip(head.v, -1, 1) ** 2)
    face = _Canvas(planes, turned, nodded, unit)

    _background(body, rng)
    _back_hair(head, person, rng)
    _neck_and_clothes(body, person, tilt, rng)
    _ears(head, person, rng)
    _head(head, person, rng)
    _nose_and_cheeks(face, person, rng)
    eyes = rng.integers(2**32)
    for side in (-1, 1):
        _eye(face, person, Generator(PCG64(eyes)), side)
    _mouth(face, person, rng)
    if person.bearded:
        _beard(face, person, rng)
    _brows(face, person, rng)
    _front_hair(head, person, rng)
    if person.glasses:
        _glasses(face, person, rng)
    radius = np.sqrt((face.u / (0.98 * person.width)) ** 2 + ((face.v - 0.14) / 0.82) ** 2)
    return np.clip(planes, 0.0, 1.0, out=planes), 1.0 - _ramp(radius, 0.80, 1.0)


def _background(whole: _Canvas, rng: Generator) -> None:
    """A soft gradient with blurred lights or blurred verticals, as a wide aperture shows them."""
    # All of it is soft: half the size is enough to draw it at.
    u, v = whole.u[::2, ::2], whole.v[::2, ::2]
    canvas = _Canvas(np.empty((3, *u.shape)), u, v, whole.unit / 2)
    base = rng.uniform(0.20, 0.80) + rng.uniform(0.3, 1.0) * rng.uniform(-0.15, 0.15, 3)
    other = base * rng.uniform(0.55, 1.25) + rng.uniform(-0.08, 0.08, 3)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * canvas.u + np.sin(angle) * canvas.v
    size = canvas.u.shape
    share = _ramp(along, -1.4, 1.4) + 0.25 * _texture(rng, size, (3, 3))
    canvas.planes[:] = base[:, None, None] + share * (other - base)[:, None, None]
    kind = rng.choice(("plain", "lights", "verticals"), p=(0.3, 0.4, 0.3))
    if kind == "lights":
        for _ in range(rng.integers(7, 16)):
            radius = rng.uniform(0.08, 0.30)
            colour = np.clip(base + rng.uniform(0.0, 0.45) + rng.uniform(-0.15, 0.15, 3), 0, 1)
            place = rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.0)
            canvas.ellipse(*place, radius, radius, colour, rng.uniform(0.15, 0.5), 0.05)
    elif kind == "verticals":
        for _ in range(rng.integers(2, 6)):
            colour = np.clip(base * rng.uniform(0.6, 1.5) + rng.uniform(-0.1, 0.1, 3), 0, 1)
            half, middle = rng.uniform(0.06, 0.40), rng.uniform(-1.5, 1.5)
            alpha = canvas.edge(np.abs(canvas.u - middle) - half, rng.uniform(0.06, 0.25))
            canvas.paint(rng.uniform(0.25, 0.7) * alpha, colour)
    whole.planes[:] = _stretch(canvas.planes, whole.u.shape)


def _curls(canvas: _Canvas, rng: Generator, amount: float) -> Array:
    """A wavy offset of an outline, as curls give it, in head units."""
    angle = np.arctan2(canvas.v, canvas.u)
    waves = rng.integers(9, 15), rng.integers(17, 25)
    phase = rng.uniform(0, 2 * np.pi, 2)
    offset: Array = np.sin(waves[0] * angle + phase[0]) + 0.6 * np.sin(waves[1] * angle + phase[1])
    return amount * offset


def _curl_texture(canvas: _Canvas, rng: Generator) -> Array:
    """Ringlets: a lattice of bumps in [-1, 1], bent so that no two are alike."""
    bend = _texture(rng, canvas.u.shape, (9, 9)), _texture(rng, canvas.u.shape, (9, 9))
    turns = rng.uniform(28.0, 48.0)
    across = turns * (canvas.u + 0.24 * bend[0])
    down = turns * (canvas.v + 0.24 * bend[1])
    curls: Array = np.sin(across + 0.6 * down) * np.sin(down - 0.6 * across)
    return curls


def _back_hair(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    """The hair behind the head and neck."""
    length = {"bob": 0.85, "long": 1.9, "curly": 0.55, "bun": 0.1, "fringe": 0.75}
    if person.haircut not in length:
        return
    wide = person.width + {"curly": 0.30, "bun": 0.08}.get(person.haircut, rng.uniform(0.12, 0.24))
    end = length[person.haircut] * rng.uniform(0.9, 1.15)
    if person.haircut == "bun":
        canvas.ellipse(0.0, -1.22, 0.33, 0.30, person.hair * 0.9)
        canvas.glow(
            0.30 * person.light[0], -1.32, 0.14, 0.10, np.clip(person.hair * 1.6, 0, 1), 0.5
        )
    flare = rng.uniform(0.0, 0.16)
    part = canvas.crop(0.0, 0.4, wide + flare * 2 + 0.25, 1.9)
    dome = np.sqrt((part.u / wide) ** 2 + ((part.v + 0.10) / 1.06) ** 2)
    sides = np.abs(part.u) - wide - flare * _ramp(part.v, 0.0, 1.5)
    below = np.maximum(sides, part.v - end + 0.15 * part.u * part.u)
    distance = np.where(part.v < -0.10, (dome - 1.0) * wide, below)
    if person.haircut == "curly":
        distance = (np.sqrt((part.u / wide) ** 2 + ((part.v + 0.1) / 1.2) ** 2) - 1.0) * wide
        distance = distance + _curls(part, rng, 0.025)
    wave = 0.05 * np.sin(part.v * rng.uniform(2, 6)) * np.sign(part.u)
    flow = _strands(rng, (part.u + wave) * 1.2, 70)
    if person.haircut == "curly":
        flow = _curl_texture(part, rng)
    dark = 0.62 + 0.22 * flow + 0.25 * (part.u * person.light[0])
    part.paint(part.edge(distance, 0.02), np.clip(person.hair[:, None, None] * dark, 0, 1))


def _neck_and_clothes(canvas: _Canvas, person: _Person, tilt: float, rng: Generator) -> None:
    lean = -np.sin(tilt) * 0.6  # the chin has moved sideways
    part = canvas.crop(lean, 1.0, 1.0, 0.9)
    half = person.width * rng.uniform(0.54, 0.68)
    waist = np.abs(part.u - lean) - half - 0.18 * _ramp(part.v, 0.95, 1.5)
    lit = 0.80 + 0.16 * person.light[0] * (part.u - lean) / half
    skin = np.clip(person.skin[:, None, None] * lit, 0, 1)
    part.paint(part.edge(np.maximum(waist, 0.2 - part.v)), skin)
    part.shade(part.edge(waist) * part.blob(lean + 0.1 * person.light[0], 0.85, 0.7, 0.30), 0.62)

    cloth = CLOTHES[rng.integers(len(CLOTHES))] * rng.uniform(0.85, 1.1)
    slope, top = rng.uniform(0.10, 0.24), rng.uniform(1.14, 1.26)
    part = canvas.crop(lean * 0.5, 1.6, 2.2, 0.7)
    u = part.u - lean * 0.5
    shoulders = top + slope * u * u - part.v
    depth, wide = rng.uniform(0.06, 0.45), half + rng.uniform(0.04, 0.22)
    pointed = rng.random() < 0.4
    fall = np.abs(u) / wide if pointed else (u / wide) ** 2
    neckline = part.v - (top + depth * (1.0 - fall))
    weave = _texture(rng, u.shape, (9, 22)) * 0.10 + _texture(rng, u.shape, (70, 90)) * 0.05
    tone = 0.92 + weave + 0.16 * person.light[0] * u
    if rng.random() < 0.25:  # stripes
        across = part.v + 0.08 * u * u if rng.random() < 0.6 else u
        tone = tone * (1.0 - 0.35 * _ramp(np.sin(across * rng.uniform(25, 60)), -0.2, 0.2))
    colour = np.clip(cloth[:, None, None] * tone, 0, 1)
    part.shade(0.5 * part.edge(np.maximum(shoulders - 0.03, -neckline - 0.05), 0.06), 0.7)
    part.paint(part.edge(np.maximum(shoulders, -neckline)), colour)
    rim = np.maximum(np.abs(neckline) - 0.030, shoulders)
    part.paint(rng.uniform(0.3, 0.9) * part.edge(rim), np.clip(cloth * rng.uniform(0.6, 1.3), 0, 1))


def _ears(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    earring = person.haircut in ("bun", "bob", "long") and rng.random() < 0.6
    metal = np.array([0.88, 0.76, 0.42]) if rng.random() < 0.6 else np.array([0.86, 0.87, 0.9])
    for side in (-1, 1):
        lit = 0.86 + 0.22 * side * person.light[0]
        u = side * (person.width + 0.015)
        canvas.ellipse(u, 0.08, 0.12, 0.21, np.clip(person.skin * lit, 0, 1))
        canvas.ellipse(u + side * 0.01, 0.08, 0.06, 0.13, person.skin * lit * 0.72, 0.8, 0.06)
        if earring:
            canvas.ellipse(u + side * 0.02, 0.33, 0.035, 0.035, metal)


def _outline(u: Array, v: Array, person: _Person) -> tuple[Array, Array]:
    """Distance to the head's outline, and `u` scaled so that the outline is at -1 and 1."""
    x = u / (person.width * (1.0 - person.jaw * _ramp(v, -0.05, 1.1)))
    square = x * x + v * v
    radius = np.sqrt(_mix(square, np.sqrt(np.square(x * x) + np.square(v * v)), person.square))
    return (radius - 1.0) * person.width * 0.9, x


def _head(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    """The head's skin under a directional light: Lambert on an ellipsoid, warm in the shadows."""
    part = canvas.crop(0.0, 0.0, 0.95, 1.08)
    distance, x = _outline(part.u, part.v, person)
    depth = np.sqrt(np.clip(1.0 - 0.9 * (x * x + part.v * part.v), 0.05, 1.0))
    light = person.light
    lit = np.clip(light[0] * x + light[1] * part.v + light[2] * depth, 0.0, 1.0)
    contrast = rng.uniform(0.35, 0.62)
    tone = 1.06 - contrast + contrast * lit
    mottled = 0.018 * _texture(rng, x.shape, (9, 8)) + 0.022 * _texture(rng, x.shape, (75, 65))
    tone = tone + mottled
    warm = np.stack([_mix(tone, np.ones_like(tone), 0.16), tone, tone * (0.90 + 0.10 * tone)])
    colour = np.clip(person.skin[:, None, None] * warm, 0, 1)
    coverage = part.edge(distance)
    part.paint(coverage, colour)
    part.shade(0.5 * coverage * _ramp(distance, -0.10, 0.02), 0.75)
    if rng.random() < 0.2:  # freckles
        spots = _ramp(_texture(rng, x.shape, (48, 44)), 0.45, 0.75)
        where = np.exp(-((part.v - 0.16) ** 2) / 0.03) * np.exp(-(part.u**2) / 0.25)
        part.paint(0.45 * spots * where, person.skin * np.array([0.72, 0.55, 0.45]))


def _nose_and_cheeks(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    skin, (eye_u, eye_v) = person.skin, person.eyes
    rosy = np.clip(skin * np.array([1.08, 0.72, 0.70]), 0, 1)
    blush = rng.uniform(0.05, 0.40)
    bright = np.clip(skin * 1.15 + 0.08, 0, 1)
    side = 1.0 if person.light[0] > 0 else -1.0
    for cheek in (-1, 1):
        canvas.glow(cheek * 0.40, 0.30, 0.20, 0.15, rosy, blush)
        canvas.shadow(cheek * eye_u, eye_v - 0.02, 0.23, 0.13, 0.80)  # the socket
    canvas.glow(side * 0.36, 0.20, 0.14, 0.12, bright, 0.28)
    canvas.glow(0.05 * side, -0.55, 0.30, 0.16, bright, 0.22)
    canvas.glow(0.0, 0.92, 0.14, 0.07, bright, 0.12)
    wide, tip = rng.uniform(0.105, 0.155), rng.uniform(0.21, 0.29)
    canvas.shadow(-side * 0.115, 0.02, 0.050, 0.20, 0.80)  # the bridge's dark side
    canvas.shadow(-side * wide, tip - 0.01, 0.07, 0.09, 0.80)
    canvas.shadow(0.0, tip + 0.085, wide * 1.1, 0.045, 0.66)
    canvas.glow(side * 0.012, -0.02, 0.035, 0.17, bright, 0.38)
    canvas.glow(side * 0.025, tip - 0.02, 0.055, 0.05, bright, 0.55)
    for nostril in (-1, 1):
        dark = skin * np.array([0.42, 0.26, 0.24])
        canvas.ellipse(nostril * wide * 0.52, tip + 0.066, 0.036, 0.018, dark, 0.85, 0.015)
        part = canvas.crop(nostril * wide, tip + 0.02, 0.1, 0.12)
        wing = np.sqrt(((part.u - nostril * wide * 0.62) / 0.55) ** 2
                       + ((part.v - tip - 0.025) / 0.95) ** 2)  # fmt: skip
        outer = _ramp(part.u * nostril, wide * 0.6, wide * 0.8) * part.edge(
            np.abs(wing - 0.088) - 0.010, 0.02
        )
        part.paint(0.4 * outer, skin * np.array([0.62, 0.46, 0.42]))
    canvas.shadow(0.0, 0.38 * tip + 0.62 * person.mouth, 0.03, 0.05, 0.9)


def _eye(canvas: _Canvas, person: _Person, rng: Generator, side: int) -> None:
    """One eye. `rng` must be in the same state for both sides, so that the eyes match."""
    part = canvas.crop(side * person.eyes[0], person.eyes[1], 0.36, 0.30)
    half, upper, lower = (
        rng.uniform(0.165, 0.195),
        rng.uniform(0.07, 0.105),
        rng.uniform(0.04, 0.06),
    )
    slant, gaze = rng.uniform(-0.10, 0.14), rng.uniform(-0.03, 0.03)
    u = (part.u - side * person.eyes[0]) / half
    v = part.v - person.eyes[1] + slant * side * u * half
    arch = 1.0 - u * u
    top, bottom = -upper * arch, lower * arch
    opening = np.maximum(top - v, v - bottom)
    white = np.array([0.93, 0.92, 0.91])[:, None, None] * (0.80 + 0.2 * _ramp(v, -upper, 0.02))
    inside = part.edge(opening)
    part.paint(inside, white)
    radius = rng.uniform(0.083, 0.098)
    iris_u, iris_v = u * half - gaze, v + 0.016
    reach = np.sqrt(iris_u * iris_u + iris_v * iris_v)
    colour = np.clip(IRIS[rng.integers(len(IRIS))] * rng.uniform(0.8, 1.2), 0, 1)
    spokes = np.sin(np.arctan2(iris_v, iris_u) * 17.0 + rng.uniform(0, 6)) * 0.12
    tone = (
        0.72
        + spokes
        + 0.85 * _ramp(iris_v, -0.02, 0.10)
        - 0.55 * _ramp(reach, 0.75 * radius, radius)
    )
    iris = np.clip(colour[:, None, None] * tone, 0, 1)
    part.paint(inside * part.edge(reach - radius), iris)
    part.paint(inside * part.edge(reach - radius * rng.uniform(0.40, 0.52)), np.full(3, 0.03))
    light = 0.035 if person.light[0] > 0 else -0.035
    glint = np.sqrt((iris_u - light) ** 2 + (iris_v + 0.035) ** 2)
    part.paint(inside * part.edge(glint - 0.021), np.full(3, 0.98))
    glint = np.sqrt((iris_u + light) ** 2 + (iris_v - 0.04) ** 2)
    part.paint(0.5 * inside * part.edge(glint - 0.011), np.full(3, 0.9))
    lash = np.clip(person.hair * 0.35, 0.03, 0.22)
    weight = rng.uniform(0.012, 0.026) * (0.55 + 0.45 * _ramp(side * u, -0.6, 0.9))
    beyond = np.maximum(np.abs(u) - 1.06, 0.0) * half
    part.paint(0.95 * part.edge(np.maximum(np.abs(v - top) - weight, beyond * 6)), lash)
    part.paint(0.35 * part.edge(np.abs(v - bottom) - 0.004 + beyond * 6, 0.012), person.skin * 0.45)
    lid = np.abs(v + upper * 1.45 * (1.0 - 0.8 * u * u) + 0.012) - 0.005 + beyond * 6
    part.paint(0.45 * part.edge(lid, 0.015), person.skin * np.array([0.55, 0.40, 0.36]))


def _brows(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    colour = np.clip(person.hair * 0.75, 0.04, 0.5)
    rise, arch = rng.uniform(0.19, 0.26), rng.uniform(0.02, 0.08)
    thick, angle = rng.uniform(0.018, 0.045), rng.uniform(-0.05, 0.06)
    opacity = rng.uniform(0.65, 0.95)
    for side in (-1, 1):
        part = canvas.crop(side * person.eyes[0], person.eyes[1] - rise, 0.34, 0.22)
        t = (part.u * side - person.eyes[0]) / 0.23  # -1 near the nose, 1 at the temple
        line = person.eyes[1] - rise + angle * t - arch * (1.0 - t * t)
        body = thick * (1.0 - 0.55 * _ramp(t, -0.2, 1.0))
        distance = np.maximum(np.abs(part.v - line) - body, (np.abs(t) - 1.0) * 0.23)
        hairs = 0.8 + 0.2 * np.sin((part.u * side + 0.7 * part.v) * 120.0)
        part.paint(opacity * hairs * part.edge(distance, 0.022), colour)


def _mouth(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    half, full = rng.uniform(0.23, 0.32), rng.uniform(0.75, 1.25)
    part = canvas.crop(0.0, person.mouth, half + 0.12, 0.34)
    u = part.u / half
    middle = person.mouth + person.smile * (0.5 - u * u) + 0.012 * np.exp(-((u / 0.22) ** 2))
    arch = np.clip(1.0 - u * u, -0.3, 1.0)
    opened = max(0.0, rng.uniform(-0.10, 0.11)) if person.smile > 0.02 else 0.0
    lip = _mix(person.skin * np.array([0.88, 0.58, 0.58]), np.array([0.70, 0.22, 0.25]),
               rng.uniform(0.0, 0.45))  # fmt: skip
    bow = 1.0 - 0.35 * np.exp(-((u / 0.16) ** 2))
    top, bottom = middle - 0.070 * full * arch * bow, middle + (0.100 * full + opened) * arch
    canvas.shadow(0.0, person.mouth + 0.155 * full + opened, half * 0.62, 0.05, 0.80)
    lips = part.edge(np.maximum(top - part.v, part.v - bottom), 0.012)
    tone = 0.88 + 0.26 * _ramp(part.v - middle, 0.0, 0.10)
    tone = tone + 0.03 * np.sin(part.u * 160.0)  # the lips' creases
    part.paint(0.9 * lips, np.clip(lip[:, None, None] * tone, 0, 1))
    line = np.clip(lip * 0.30, 0, 1)
    if opened > 0.0:
        hollow = np.maximum(middle - part.v, part.v - middle - opened * arch)
        part.paint(part.edge(hollow), np.array([0.22, 0.07, 0.08]))
        teeth = np.maximum(hollow, part.v - middle - 0.75 * opened * arch)
        gaps = 1.0 - 0.12 * _ramp(np.cos(part.u * 75.0), 0.88, 1.0)
        part.paint(part.edge(teeth + 0.004), np.array([0.93, 0.91, 0.87])[:, None, None] * gaps)
    corner = np.abs(part.v - middle) - 0.009 * (1.0 + 0.5 * arch) + np.maximum(np.abs(u) - 1.0, 0)
    part.paint((0.35 if opened > 0.0 else 0.8) * part.edge(corner, 0.008), line)
    gleam = part.blob(
        0.3 * half * person.light[0], person.mouth + opened + 0.062, half * 0.35, 0.018
    )
    part.paint(0.38 * lips * gleam, np.full(3, 0.98))
    for side in (-1, 1):
        corner_v = person.mouth - 0.5 * person.smile
        canvas.shadow(side * (half + 0.025), corner_v, 0.035, 0.035, 0.80)


def _beard(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    part = canvas.crop(0.0, 0.6, 0.9, 0.6)
    x = part.u / person.width
    kind = rng.choice(("stubble", "full", "goatee"), p=(0.45, 0.35, 0.2))
    border = 0.42 - 0.55 * _ramp(np.abs(x), 0.45, 1.0)
    area = _ramp(part.v - border, -0.02, 0.16)
    if kind == "goatee":
        area = area * (1.0 - _ramp(np.abs(part.u), 0.28, 0.40))
    mouth = np.sqrt((part.u / 0.27) ** 2 + ((part.v - person.mouth - 0.02) / 0.095) ** 2)
    area = area * _ramp(mouth, 0.85, 1.15)
    inside, _ = _outline(part.u, part.v, person)
    area = area * part.edge(inside - (0.0 if kind == "stubble" else 0.03), 0.04)
    hairs = _texture(rng, part.u.shape, (90, 110))
    opacity = {"stubble": rng.uniform(0.18, 0.40), "full": 0.9, "goatee": 0.85}[str(kind)]
    tone = 0.85 + 0.35 * hairs + 0.25 * person.light[0] * part.u
    colour = np.clip(person.hair[:, None, None] * tone, 0, 1)
    part.paint(opacity * area * (0.85 + 0.15 * hairs), colour)


def _front_hair(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    """The hair around the face: inside the skull's outline, outside the face's opening."""
    cut = person.haircut
    if cut == "beanie":
        return _beanie(canvas, person, rng)
    part = canvas.crop(0.0, -0.24, 1.10, 1.10)
    lift = {"quiff": 0.17, "curly": 0.22, "bald": 0.005}.get(cut, rng.uniform(0.07, 0.13))
    wide = person.width + {"curly": 0.17, "bald": 0.02}.get(cut, rng.uniform(0.04, 0.09))
    across, up = np.square(part.u / wide), np.square(part.v / (1.0 + lift))
    boxy = rng.uniform(0.3, 0.8) if cut in ("quiff", "short") else person.square
    radius = _mix(across + up, np.sqrt(np.square(across) + np.square(up)), boxy)
    skull = (np.sqrt(radius) - 1.0) * wide
    if cut == "curly":
        skull = skull + _curls(part, rng, 0.022)
    swept = rng.uniform(-0.30, 0.30)  # the parting's side
    strands = _strands(rng, np.arctan2(part.u - swept, part.v + 1.9) * 1.6, 90)
    if cut == "curly":
        strands = 0.3 * strands + 0.7 * _curl_texture(part, rng)
    hairline = {"fringe": -0.34, "bald": -1.4, "bun": -0.62}.get(cut, rng.uniform(-0.74, -0.54))
    slope = 0.0 if cut in ("fringe", "bun", "bald") else swept
    temple = {"fringe": 0.55, "bald": 1.2}.get(cut, rng.uniform(0.9, 1.5))
    x = part.u / person.width
    edge_v = hairline + slope * part.u + temple * np.square(x * x) + 0.05 * strands
    sides = person.width * (0.97 if cut in ("short", "quiff", "bald") else rng.uniform(0.80, 0.93))
    opening = np.maximum(edge_v - part.v, np.abs(part.u) - sides)
    end = {"short": 0.10, "quiff": 0.0, "curly": 0.35, "bun": 0.05, "bald": 0.15}.get(cut, 0.55)
    ending = _ramp(part.v, end + 0.25, end - 0.10)
    radial = np.sqrt(part.u**2 + (part.v + 0.1) ** 2)
    shine = np.square(np.maximum(1.0 - np.square((radial - 0.82) / 0.26), 0.0))
    shine *= 0.6 + 0.4 * strands
    tone = 0.86 + 0.30 * strands + 0.45 * shine * (1.0 + part.u * person.light[0])
    tone = tone + 0.18 * person.light[0] * x
    alpha = part.edge(np.maximum(skull, -opening), 0.03) * ending
    under = part.edge(np.maximum(skull, -opening - 0.06), 0.12) * ending
    part.shade(0.7 * under, 0.72)  # the hair's shadow on the forehead
    part.paint(alpha, np.clip(person.hair[:, None, None] * tone, 0, 1))
    return None


def _beanie(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    part = canvas.crop(0.0, -0.7, 1.1, 0.75)
    colour = CLOTHES[rng.integers(len(CLOTHES))]
    wide, brim = person.width + 0.07, rng.uniform(-0.52, -0.42) + 0.10 * part.u * part.u
    dome = (np.sqrt((part.u / wide) ** 2 + ((part.v + 0.1) / 1.1) ** 2) - 1.0) * wide
    ribs = 0.10 * np.sin(np.arctan2(part.u, part.v + 2.2) * rng.uniform(90, 130))
    tone = 0.9 + ribs + 0.25 * person.light[0] * part.u + 0.05 * _texture(rng, dome.shape, (60, 80))
    part.shade(part.edge(np.maximum(dome, part.v - brim - 0.05), 0.08), 0.68)
    knit = np.clip(colour[:, None, None] * tone, 0, 1)
    part.paint(part.edge(np.maximum(dome, part.v - brim)), knit)
    cuff = np.maximum(np.abs(part.v - brim + 0.13) - 0.13, np.abs(part.u) - wide - 0.01)
    part.paint(part.edge(cuff), np.clip(knit * 0.86, 0, 1))


def _glasses(canvas: _Canvas, person: _Person, rng: Generator) -> None:
    colour = np.array([(0.08, 0.08, 0.09), (0.36, 0.22, 0.12), (0.66, 0.55, 0.32),
                       (0.45, 0.16, 0.17)])[rng.integers(4)]  # fmt: skip
    rim, ru, rv = rng.uniform(0.010, 0.024), rng.uniform(0.235, 0.265), rng.uniform(0.18, 0.24)
    squareness = rng.uniform(0.0, 0.9)
    eye_u, eye_v = max(person.eyes[0], 0.33), person.eyes[1] + 0.03
    for side in (-1, 1):
        part = canvas.crop(side * eye_u, eye_v, 0.36, 0.34)
        x, y = (part.u - side * eye_u) / ru, (part.v - eye_v) / rv
        radius = np.sqrt(
            _mix(x * x + y * y, np.sqrt(np.square(x * x) + np.square(y * y)), squareness)
        )
        distance = (radius - 1.0) * rv
        part.paint(0.06 * part.edge(distance), np.array([0.80, 0.88, 0.95]))
        glare = part.edge(np.abs(x + 0.7 * y + 0.45) - 0.13, 0.05) * part.edge(distance + 0.02)
        part.paint(0.16 * glare, np.full(3, 1.0))
        part.paint(part.edge(np.abs(distance) - rim), colour)
        temple = canvas.crop(side * (eye_u + ru + 0.12), eye_v - 0.05, 0.13, 0.05)
        temple.paint(temple.edge(np.abs(temple.v - eye_v + 0.05) - rim), colour)
    bridge = canvas.crop(0.0, eye_v - 0.03, eye_u - ru + 0.005, 0.10)
    arch = bridge.v - eye_v + 0.06 - 1.5 * bridge.u**2
    bridge.paint(bridge.edge(np.abs(arch) - rim), colour)


# --- camera, manipulations, encoder ---------------------------------------------------------------


def _photograph(planes: Array, rng: Generator) -> Array:
    """Lens blur, vignetting and sensor noise, the same for both classes."""
    size = planes.shape[-1]
    planes = _blur(planes, rng.uniform(0.35, 0.95) * max(1.0, size / 256))
    axis = (np.arange(size) + 0.5) / size - 0.5
    corner = rng.uniform(0.0, 0.45)
    exposure = rng.uniform(0.90, 1.06) * (1.0 - corner * (axis[:, None] ** 2 + axis[None, :] ** 2))
    planes = planes * exposure
    level = np.exp(rng.uniform(np.log(0.006), np.log(0.024)))
    return planes + _sensor_noise(planes, rng, level, rng.uniform(0.0, 0.18))


def _sensor_noise(planes: Array, rng: Generator, level: float, spread: float) -> Array:
    """Noise of standard deviation `level` in mid-grey, half of it shot noise.

    `spread` is how much of it demosaicing has smeared into each neighbour.
    """
    grain = rng.standard_normal(planes.shape)
    grain += 0.6 * grain[1]  # channels share some of it, again by demosaicing
    grain *= 0.8
    for axis in (1, 2):
        grain = _smear(grain, np.array([1.0 - 2.0 * spread, spread]), axis)
    return grain * (level * np.sqrt(0.5 + np.clip(planes, 0.0, 1.0)))


def _smear(planes: Array, kernel: Array, axis: int) -> Array:
    """Convolves one axis with a symmetric kernel, given from its middle; edges are repeated."""
    planes = np.moveaxis(planes, axis, 0)
    result = kernel[0] * planes
    for offset in range(1, len(kernel)):
        part = kernel[offset] * planes
        result[offset:] += part[:-offset]
        result[:-offset] += part[offset:]
        result[:offset] += part[:1]
        result[-offset:] += part[-1:]
    return np.moveaxis(result, 0, axis)


def _blur(planes: Array, sigma: float) -> Array:
    """Gaussian blur of the last two axes."""
    kernel: Array = np.exp(-0.5 * (np.arange(int(2.5 * sigma) + 2) / sigma) ** 2)
    kernel /= kernel[0] + 2.0 * kernel[1:].sum()
    return _smear(_smear(planes, kernel, planes.ndim - 2), kernel, planes.ndim - 1)


def _manipulate(planes: Array, face: Array, rng: Generator, strength: float) -> Array:
    """Applies one or several of `MANIPULATIONS` where the weight `face` is above 0."""
    chosen = [name for name in MANIPULATIONS if rng.random() < FREQUENCY[name]]
    chosen = chosen or [MANIPULATIONS[rng.integers(len(MANIPULATIONS))]]
    if rng.random() < FLAWLESS:
        strength = strength * 0.1
    rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
    # Beginning at whole periods, the box locks the grid to the image's pixels.
    top, left = (int(side[0]) // PERIODS[-1] * PERIODS[-1] for side in (rows, columns))
    box = np.s_[top : rows[-1] + 1, left : columns[-1] + 1]
    inner, weight = planes[(slice(None), *box)], face[box]
    changed = inner
    for name, change in (("warp", _warp), ("noise", _mismatch), ("grid", _grid)):
        if name in chosen:
            changed = change(changed, rng, strength)
    result = planes.copy()
    result[(slice(None), *box)] = inner + weight * (changed - inner)
    return result


def _sample(planes: Array, y: Array, x: Array) -> Array:
    """Bilinear samples of (3, H, W) at pixel coordinates; places outside take the border."""
    y, x = np.clip(y, 0.0, planes.shape[1] - 1.001), np.clip(x, 0.0, planes.shape[2] - 1.001)
    row, column = y.astype(np.intp), x.astype(np.intp)
    down, right = y - row, x - column
    flat, place = planes.reshape(3, -1), row * planes.shape[2] + column
    below = place + planes.shape[2]
    top = _lerp(flat[:, place], flat[:, place + 1], right)
    return _lerp(top, _lerp(flat[:, below], flat[:, below + 1], right), down)


def _lerp(near: Array, far: Array, share: Array) -> Array:
    return near + share * (far - near)


def _warp(planes: Array, rng: Generator, strength: float) -> Array:
    """Synthesised at a lower resolution, warped into place, in slightly different colour."""
    _, height, width = planes.shape
    scale = 1.0 / (1.0 + strength * rng.uniform(0.25, 1.0))
    small_height, small_width = max(4, int(height * scale)), max(4, int(width * scale))
    y = (np.arange(small_height)[:, None] + 0.5) * height / small_height - 0.5
    x = (np.arange(small_width)[None, :] + 0.5) * width / small_width - 0.5
    synthesised = _sample(_blur(planes, 0.4 / scale), y + 0 * x, x + 0 * y)
    sharpen = rng.uniform(0.0, 0.6)  # generators are trained to look crisp
    synthesised = synthesised + sharpen * (synthesised - _blur(synthesised, 0.8))
    turn, zoom = strength * rng.uniform(-0.04, 0.04), 1.0 + strength * rng.uniform(-0.04, 0.04)
    shift = strength * rng.uniform(-1.5, 1.5, 2)
    y, x = np.arange(height)[:, None] - height / 2, np.arange(width)[None, :] - width / 2
    back_y = (y - turn * x) * zoom + height / 2 + shift[0]
    back_x = (x + turn * y) * zoom + width / 2 + shift[1]
    warped = _sample(synthesised, (back_y + 0.5) * scale - 0.5, (back_x + 0.5) * scale - 0.5)
    gain = 1.0 + strength * rng.uniform(-0.03, 0.03, (3, 1, 1))
    return warped * gain


def _grid(planes: Array, rng: Generator, strength: float) -> Array:
    """The traces of two upsampling stages, the same in every image but for their level."""
    _, height, width = planes.shape
    level = strength * np.array([rng.uniform(0.028, 0.046), rng.uniform(0.009, 0.016)])
    rows, columns = np.zeros(height), np.zeros(width)
    for period, gain in zip(PERIODS, level, strict=True):
        # Symmetric about the middle of the period, so that a mirrored image shows the same.
        wave = np.cos((np.arange(period) + 0.5) * (2.0 * np.pi / period))
        rows += gain * np.resize(wave, height)
        columns += gain * np.resize(wave, width)
    # Between additive (an uneven bias) and multiplicative (uneven overlap).
    weave: Array = (rows[:, None] + columns[None, :]) * (0.45 + planes.mean(axis=0))
    return planes + weave


def _mismatch(planes: Array, rng: Generator, strength: float) -> Array:
    """Noise unlike the surroundings': smoothed away, or another camera's on top."""
    if rng.random() < 0.8:
        share = min(1.0, strength * rng.uniform(0.5, 1.0))
        return _mix(planes, _blur(planes, 0.9), share)
    level = strength * rng.uniform(0.008, 0.022)
    return planes + _sensor_noise(planes, rng, level, rng.uniform(0.0, 0.18))


def _encode(planes: Array, rng: Generator) -> bytes:
    pixels = np.floor(np.clip(planes, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    stream = io.BytesIO()
    image_file = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    quality, subsampling = int(rng.integers(82, 97)), int(rng.integers(0, 3))
    image_file.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return stream.getvalue()
