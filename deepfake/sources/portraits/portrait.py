"""A procedural portrait: who it shows, in front of what, and where the inner face is."""

import numpy as np
from numpy.random import PCG64, Generator

from deepfake.sources.portraits.canvas import Array, Canvas, ramp, stretch, texture
from deepfake.sources.portraits.face import (
    paint_brows,
    paint_ears,
    paint_eye,
    paint_glasses,
    paint_head,
    paint_mouth,
    paint_nose_and_cheeks,
)
from deepfake.sources.portraits.hair import paint_back_hair, paint_beard, paint_front_hair
from deepfake.sources.portraits.person import CLOTHES, Person, draw_person


def draw_portrait(rng: Generator, size: int) -> tuple[Array, Array]:
    """Draw the scene (3, size, size) in [0, 1] and the weight (size, size) of the inner face."""
    person = draw_person(rng)
    unit = size * rng.uniform(0.345, 0.395)
    tilt = rng.uniform(-0.17, 0.17)
    centre = size * (0.5 + rng.uniform(-0.045, 0.045, 2)) + np.array([0.0, -0.012 * size])
    x = (np.arange(size)[None, :] + 0.5 - centre[0]) / unit
    y = (np.arange(size)[:, None] + 0.5 - centre[1]) / unit
    planes = np.empty((3, size, size))
    body = Canvas(planes, x + np.zeros_like(y), y + np.zeros_like(x), unit)
    head = Canvas(
        planes, x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt), unit
    )
    yaw, pitch = rng.uniform(-0.13, 0.13), rng.uniform(-0.05, 0.05)
    # A turned head: the middle of the face moves most, its outline stays.
    turned = head.u - yaw * (1.0 - np.clip(head.u / person.width, -1, 1) ** 2)
    nodded = head.v - pitch * (1.0 - np.clip(head.v, -1, 1) ** 2)
    face = Canvas(planes, turned, nodded, unit)

    _paint_background(body, rng)
    paint_back_hair(head, person, rng)
    _paint_neck_and_clothes(body, person, tilt, rng)
    paint_ears(head, person, rng)
    paint_head(head, person, rng)
    paint_nose_and_cheeks(face, person, rng)
    eyes = rng.integers(2**32)
    for side in (-1, 1):
        paint_eye(face, person, Generator(PCG64(eyes)), side)
    paint_mouth(face, person, rng)
    if person.bearded:
        paint_beard(face, person, rng)
    paint_brows(face, person, rng)
    paint_front_hair(head, person, rng)
    if person.glasses:
        paint_glasses(face, person, rng)
    radius = np.sqrt((face.u / (0.98 * person.width)) ** 2 + ((face.v - 0.14) / 0.82) ** 2)
    return np.clip(planes, 0.0, 1.0, out=planes), 1.0 - ramp(radius, 0.80, 1.0)


def _paint_background(whole: Canvas, rng: Generator) -> None:
    """Paint a soft gradient with blurred lights or verticals, as a wide aperture shows them."""
    # All of it is soft: half the size is enough to draw it at.
    u, v = whole.u[::2, ::2], whole.v[::2, ::2]
    canvas = Canvas(np.empty((3, *u.shape)), u, v, whole.unit / 2)
    base = rng.uniform(0.20, 0.80) + rng.uniform(0.3, 1.0) * rng.uniform(-0.15, 0.15, 3)
    other = base * rng.uniform(0.55, 1.25) + rng.uniform(-0.08, 0.08, 3)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * canvas.u + np.sin(angle) * canvas.v
    size = canvas.u.shape
    share = ramp(along, -1.4, 1.4) + 0.25 * texture(rng, size, (3, 3))
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
    whole.planes[:] = stretch(canvas.planes, whole.u.shape)


def _paint_neck_and_clothes(canvas: Canvas, person: Person, tilt: float, rng: Generator) -> None:
    lean = -np.sin(tilt) * 0.6  # the chin has moved sideways
    part = canvas.crop(lean, 1.0, 1.0, 0.9)
    half = person.width * rng.uniform(0.54, 0.68)
    waist = np.abs(part.u - lean) - half - 0.18 * ramp(part.v, 0.95, 1.5)
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
    weave = texture(rng, u.shape, (9, 22)) * 0.10 + texture(rng, u.shape, (70, 90)) * 0.05
    tone = 0.92 + weave + 0.16 * person.light[0] * u
    if rng.random() < 0.25:  # stripes
        across = part.v + 0.08 * u * u if rng.random() < 0.6 else u
        tone = tone * (1.0 - 0.35 * ramp(np.sin(across * rng.uniform(25, 60)), -0.2, 0.2))
    colour = np.clip(cloth[:, None, None] * tone, 0, 1)
    part.shade(0.5 * part.edge(np.maximum(shoulders - 0.03, -neckline - 0.05), 0.06), 0.7)
    part.paint(part.edge(np.maximum(shoulders, -neckline)), colour)
    rim = np.maximum(np.abs(neckline) - 0.030, shoulders)
    part.paint(rng.uniform(0.3, 0.9) * part.edge(rim), np.clip(cloth * rng.uniform(0.6, 1.3), 0, 1))
