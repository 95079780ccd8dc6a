"""Hair behind the head and around the face, beards and beanies."""

import numpy as np
from numpy.random import Generator

from deepfake.sources.portraits.canvas import Array, Canvas, mix, ramp, strand_noise, texture
from deepfake.sources.portraits.face import head_outline
from deepfake.sources.portraits.person import CLOTHES, Person


def paint_back_hair(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint the hair behind the head and neck."""
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
    sides = np.abs(part.u) - wide - flare * ramp(part.v, 0.0, 1.5)
    below = np.maximum(sides, part.v - end + 0.15 * part.u * part.u)
    distance = np.where(part.v < -0.10, (dome - 1.0) * wide, below)
    if person.haircut == "curly":
        distance = (np.sqrt((part.u / wide) ** 2 + ((part.v + 0.1) / 1.2) ** 2) - 1.0) * wide
        distance = distance + _curls(part, rng, 0.025)
    wave = 0.05 * np.sin(part.v * rng.uniform(2, 6)) * np.sign(part.u)
    flow = strand_noise(rng, (part.u + wave) * 1.2, 70)
    if person.haircut == "curly":
        flow = _curl_texture(part, rng)
    dark = 0.62 + 0.22 * flow + 0.25 * (part.u * person.light[0])
    part.paint(part.edge(distance, 0.02), np.clip(person.hair[:, None, None] * dark, 0, 1))


def paint_front_hair(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint the hair around the face: inside the skull's outline, outside the face's opening."""
    cut = person.haircut
    if cut == "beanie":
        return _paint_beanie(canvas, person, rng)
    part = canvas.crop(0.0, -0.24, 1.10, 1.10)
    lift = {"quiff": 0.17, "curly": 0.22, "bald": 0.005}.get(cut, rng.uniform(0.07, 0.13))
    wide = person.width + {"curly": 0.17, "bald": 0.02}.get(cut, rng.uniform(0.04, 0.09))
    across, up = np.square(part.u / wide), np.square(part.v / (1.0 + lift))
    boxy = rng.uniform(0.3, 0.8) if cut in ("quiff", "short") else person.square
    radius = mix(across + up, np.sqrt(np.square(across) + np.square(up)), boxy)
    skull = (np.sqrt(radius) - 1.0) * wide
    if cut == "curly":
        skull = skull + _curls(part, rng, 0.022)
    swept = rng.uniform(-0.30, 0.30)  # the parting's side
    strands = strand_noise(rng, np.arctan2(part.u - swept, part.v + 1.9) * 1.6, 90)
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
    ending = ramp(part.v, end + 0.25, end - 0.10)
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


def _paint_beanie(canvas: Canvas, person: Person, rng: Generator) -> None:
    part = canvas.crop(0.0, -0.7, 1.1, 0.75)
    colour = CLOTHES[rng.integers(len(CLOTHES))]
    wide, brim = person.width + 0.07, rng.uniform(-0.52, -0.42) + 0.10 * part.u * part.u
    dome = (np.sqrt((part.u / wide) ** 2 + ((part.v + 0.1) / 1.1) ** 2) - 1.0) * wide
    ribs = 0.10 * np.sin(np.arctan2(part.u, part.v + 2.2) * rng.uniform(90, 130))
    tone = 0.9 + ribs + 0.25 * person.light[0] * part.u + 0.05 * texture(rng, dome.shape, (60, 80))
    part.shade(part.edge(np.maximum(dome, part.v - brim - 0.05), 0.08), 0.68)
    knit = np.clip(colour[:, None, None] * tone, 0, 1)
    part.paint(part.edge(np.maximum(dome, part.v - brim)), knit)
    cuff = np.maximum(np.abs(part.v - brim + 0.13) - 0.13, np.abs(part.u) - wide - 0.01)
    part.paint(part.edge(cuff), np.clip(knit * 0.86, 0, 1))


def paint_beard(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint stubble, a full beard or a goatee."""
    part = canvas.crop(0.0, 0.6, 0.9, 0.6)
    x = part.u / person.width
    kind = rng.choice(("stubble", "full", "goatee"), p=(0.45, 0.35, 0.2))
    border = 0.42 - 0.55 * ramp(np.abs(x), 0.45, 1.0)
    area = ramp(part.v - border, -0.02, 0.16)
    if kind == "goatee":
        area = area * (1.0 - ramp(np.abs(part.u), 0.28, 0.40))
    mouth = np.sqrt((part.u / 0.27) ** 2 + ((part.v - person.mouth - 0.02) / 0.095) ** 2)
    area = area * ramp(mouth, 0.85, 1.15)
    inside, _ = head_outline(part.u, part.v, person)
    area = area * part.edge(inside - (0.0 if kind == "stubble" else 0.03), 0.04)
    hairs = texture(rng, part.u.shape, (90, 110))
    opacity = {"stubble": rng.uniform(0.18, 0.40), "full": 0.9, "goatee": 0.85}[str(kind)]
    tone = 0.85 + 0.35 * hairs + 0.25 * person.light[0] * part.u
    colour = np.clip(person.hair[:, None, None] * tone, 0, 1)
    part.paint(opacity * area * (0.85 + 0.15 * hairs), colour)


def _curls(canvas: Canvas, rng: Generator, amount: float) -> Array:
    """Return the wavy offset that curls add to an outline, in head units."""
    angle = np.arctan2(canvas.v, canvas.u)
    waves = rng.integers(9, 15), rng.integers(17, 25)
    phase = rng.uniform(0, 2 * np.pi, 2)
    offset: Array = np.sin(waves[0] * angle + phase[0]) + 0.6 * np.sin(waves[1] * angle + phase[1])
    return amount * offset


def _curl_texture(canvas: Canvas, rng: Generator) -> Array:
    """Return ringlets: a lattice of bumps in [-1, 1], bent so that no two are alike."""
    bend = texture(rng, canvas.u.shape, (9, 9)), texture(rng, canvas.u.shape, (9, 9))
    turns = rng.uniform(28.0, 48.0)
    across = turns * (canvas.u + 0.24 * bend[0])
    down = turns * (canvas.v + 0.24 * bend[1])
    curls: Array = np.sin(across + 0.6 * down) * np.sin(down - 0.6 * across)
    return curls
