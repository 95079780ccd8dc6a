"""The parts of a face, from the skin of the head to the glasses."""

import numpy as np
from numpy.random import Generator

from deepfake.sources.portraits.canvas import Array, Canvas, mix, ramp, texture
from deepfake.sources.portraits.person import IRIS, Person


def head_outline(u: Array, v: Array, person: Person) -> tuple[Array, Array]:
    """Return distances to the head's outline, and `u` scaled so that the outline is at -1 and 1."""
    x = u / (person.width * (1.0 - person.jaw * ramp(v, -0.05, 1.1)))
    square = x * x + v * v
    radius = np.sqrt(mix(square, np.sqrt(np.square(x * x) + np.square(v * v)), person.square))
    return (radius - 1.0) * person.width * 0.9, x


def paint_head(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint the head's skin under a directional light: an ellipsoid, warm in the shadows."""
    part = canvas.crop(0.0, 0.0, 0.95, 1.08)
    distance, x = head_outline(part.u, part.v, person)
    depth = np.sqrt(np.clip(1.0 - 0.9 * (x * x + part.v * part.v), 0.05, 1.0))
    light = person.light
    lit = np.clip(light[0] * x + light[1] * part.v + light[2] * depth, 0.0, 1.0)
    contrast = rng.uniform(0.35, 0.62)
    tone = 1.06 - contrast + contrast * lit
    mottled = 0.018 * texture(rng, x.shape, (9, 8)) + 0.022 * texture(rng, x.shape, (75, 65))
    tone = tone + mottled
    warm = np.stack([mix(tone, np.ones_like(tone), 0.16), tone, tone * (0.90 + 0.10 * tone)])
    colour = np.clip(person.skin[:, None, None] * warm, 0, 1)
    coverage = part.edge(distance)
    part.paint(coverage, colour)
    part.shade(0.5 * coverage * ramp(distance, -0.10, 0.02), 0.75)
    if rng.random() < 0.2:  # freckles
        spots = ramp(texture(rng, x.shape, (48, 44)), 0.45, 0.75)
        where = np.exp(-((part.v - 0.16) ** 2) / 0.03) * np.exp(-(part.u**2) / 0.25)
        part.paint(0.45 * spots * where, person.skin * np.array([0.72, 0.55, 0.45]))


def paint_ears(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint both ears, some with earrings."""
    earring = person.haircut in ("bun", "bob", "long") and rng.random() < 0.6
    metal = np.array([0.88, 0.76, 0.42]) if rng.random() < 0.6 else np.array([0.86, 0.87, 0.9])
    for side in (-1, 1):
        lit = 0.86 + 0.22 * side * person.light[0]
        u = side * (person.width + 0.015)
        canvas.ellipse(u, 0.08, 0.12, 0.21, np.clip(person.skin * lit, 0, 1))
        canvas.ellipse(u + side * 0.01, 0.08, 0.06, 0.13, person.skin * lit * 0.72, 0.8, 0.06)
        if earring:
            canvas.ellipse(u + side * 0.02, 0.33, 0.035, 0.035, metal)


def paint_nose_and_cheeks(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint lights and shadows of nose, cheeks, forehead and eye sockets."""
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
        outer = ramp(part.u * nostril, wide * 0.6, wide * 0.8) * part.edge(
            np.abs(wing - 0.088) - 0.010, 0.02
        )
        part.paint(0.4 * outer, skin * np.array([0.62, 0.46, 0.42]))
    canvas.shadow(0.0, 0.38 * tip + 0.62 * person.mouth, 0.03, 0.05, 0.9)


def paint_eye(canvas: Canvas, person: Person, rng: Generator, side: int) -> None:
    """Paint one eye. `rng` must be in the same state for both sides, so that the eyes match."""
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
    white = np.array([0.93, 0.92, 0.91])[:, None, None] * (0.80 + 0.2 * ramp(v, -upper, 0.02))
    inside = part.edge(opening)
    part.paint(inside, white)
    radius = rng.uniform(0.083, 0.098)
    iris_u, iris_v = u * half - gaze, v + 0.016
    reach = np.sqrt(iris_u * iris_u + iris_v * iris_v)
    colour = np.clip(IRIS[rng.integers(len(IRIS))] * rng.uniform(0.8, 1.2), 0, 1)
    spokes = np.sin(np.arctan2(iris_v, iris_u) * 17.0 + rng.uniform(0, 6)) * 0.12
    tone = (
        0.72 + spokes + 0.85 * ramp(iris_v, -0.02, 0.10) - 0.55 * ramp(reach, 0.75 * radius, radius)
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
    weight = rng.uniform(0.012, 0.026) * (0.55 + 0.45 * ramp(side * u, -0.6, 0.9))
    beyond = np.maximum(np.abs(u) - 1.06, 0.0) * half
    part.paint(0.95 * part.edge(np.maximum(np.abs(v - top) - weight, beyond * 6)), lash)
    part.paint(0.35 * part.edge(np.abs(v - bottom) - 0.004 + beyond * 6, 0.012), person.skin * 0.45)
    lid = np.abs(v + upper * 1.45 * (1.0 - 0.8 * u * u) + 0.012) - 0.005 + beyond * 6
    part.paint(0.45 * part.edge(lid, 0.015), person.skin * np.array([0.55, 0.40, 0.36]))


def paint_brows(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint both eyebrows."""
    colour = np.clip(person.hair * 0.75, 0.04, 0.5)
    rise, arch = rng.uniform(0.19, 0.26), rng.uniform(0.02, 0.08)
    thick, angle = rng.uniform(0.018, 0.045), rng.uniform(-0.05, 0.06)
    opacity = rng.uniform(0.65, 0.95)
    for side in (-1, 1):
        part = canvas.crop(side * person.eyes[0], person.eyes[1] - rise, 0.34, 0.22)
        t = (part.u * side - person.eyes[0]) / 0.23  # -1 near the nose, 1 at the temple
        line = person.eyes[1] - rise + angle * t - arch * (1.0 - t * t)
        body = thick * (1.0 - 0.55 * ramp(t, -0.2, 1.0))
        distance = np.maximum(np.abs(part.v - line) - body, (np.abs(t) - 1.0) * 0.23)
        hairs = 0.8 + 0.2 * np.sin((part.u * side + 0.7 * part.v) * 120.0)
        part.paint(opacity * hairs * part.edge(distance, 0.022), colour)


def paint_mouth(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint the lips, closed or open over teeth."""
    half, full = rng.uniform(0.23, 0.32), rng.uniform(0.75, 1.25)
    part = canvas.crop(0.0, person.mouth, half + 0.12, 0.34)
    u = part.u / half
    middle = person.mouth + person.smile * (0.5 - u * u) + 0.012 * np.exp(-((u / 0.22) ** 2))
    arch = np.clip(1.0 - u * u, -0.3, 1.0)
    opened = max(0.0, rng.uniform(-0.10, 0.11)) if person.smile > 0.02 else 0.0
    lip = mix(person.skin * np.array([0.88, 0.58, 0.58]), np.array([0.70, 0.22, 0.25]),
               rng.uniform(0.0, 0.45))  # fmt: skip
    bow = 1.0 - 0.35 * np.exp(-((u / 0.16) ** 2))
    top, bottom = middle - 0.070 * full * arch * bow, middle + (0.100 * full + opened) * arch
    canvas.shadow(0.0, person.mouth + 0.155 * full + opened, half * 0.62, 0.05, 0.80)
    lips = part.edge(np.maximum(top - part.v, part.v - bottom), 0.012)
    tone = 0.88 + 0.26 * ramp(part.v - middle, 0.0, 0.10)
    tone = tone + 0.03 * np.sin(part.u * 160.0)  # the lips' creases
    part.paint(0.9 * lips, np.clip(lip[:, None, None] * tone, 0, 1))
    line = np.clip(lip * 0.30, 0, 1)
    if opened > 0.0:
        hollow = np.maximum(middle - part.v, part.v - middle - opened * arch)
        part.paint(part.edge(hollow), np.array([0.22, 0.07, 0.08]))
        teeth = np.maximum(hollow, part.v - middle - 0.75 * opened * arch)
        gaps = 1.0 - 0.12 * ramp(np.cos(part.u * 75.0), 0.88, 1.0)
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


def paint_glasses(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Paint a frame with glare on its lenses."""
    colour = np.array([(0.08, 0.08, 0.09), (0.36, 0.22, 0.12), (0.66, 0.55, 0.32),
                       (0.45, 0.16, 0.17)])[rng.integers(4)]  # fmt: skip
    rim, ru, rv = rng.uniform(0.010, 0.024), rng.uniform(0.235, 0.265), rng.uniform(0.18, 0.24)
    squareness = rng.uniform(0.0, 0.9)
    eye_u, eye_v = max(person.eyes[0], 0.33), person.eyes[1] + 0.03
    for side in (-1, 1):
        part = canvas.crop(side * eye_u, eye_v, 0.36, 0.34)
        x, y = (part.u - side * eye_u) / ru, (part.v - eye_v) / rv
        radius = np.sqrt(
            mix(x * x + y * y, np.sqrt(np.square(x * x) + np.square(y * y)), squareness)
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
