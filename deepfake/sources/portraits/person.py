"""The person of a portrait: colours and traits, drawn at random."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from deepfake.sources.portraits.canvas import Array, mix

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


@dataclass(frozen=True)
class Person:
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


def draw_person(rng: Generator) -> Person:
    """Draw a person's traits at random."""
    tone = rng.uniform(0.0, len(SKIN) - 1.001)
    skin = mix(SKIN[int(tone)], SKIN[int(tone) + 1], tone - int(tone))
    dark = tone > 3.2  # deep skin mostly comes with dark hair
    odds = HAIR_ODDS * np.where(np.arange(len(HAIR)) > 3, 0.25 if dark else 1.0, 1.0)
    hair = HAIR[rng.choice(len(HAIR), p=odds / odds.sum())] * rng.uniform(0.85, 1.15)
    angle = rng.uniform(0.25, 1.1) * rng.choice((-1.0, 1.0))
    height = rng.uniform(0.15, 0.6)
    light = (np.sin(angle) * 0.8, -height, 0.75)
    haircut = str(rng.choice(HAIRCUTS, p=HAIRCUT_ODDS))
    norm = np.sqrt(sum(x * x for x in light))
    long = haircut in ("bob", "long", "bun", "fringe")
    return Person(
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
