"""A canvas of planes, with the shapes and textures that portraits are painted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Canvas:
    """Planes (3, H, W) with the coordinates (H, W) of their pixels; crops share memory.

    Coordinates are in heads: the head's centre is the origin, its half height 1, `v` points down.
    Shapes are given as distances in that unit, negative inside, and painted with edges one pixel
    wide, which is what keeps them smooth.
    """

    planes: Array
    u: Array
    v: Array
    unit: float  # pixels per head unit

    def crop(self, u: float, v: float, half_u: float, half_v: float) -> Canvas:
        """Return the part around (u, v) that holds at least `half_u` and `half_v` to each side."""
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
        return Canvas(self.planes[(slice(None), *box)], self.u[box], self.v[box], self.unit)

    def edge(self, distance: Array, softness: float = 0.0) -> Array:
        """Return the coverage in [0, 1] of a shape, from distances to its outline.

        `softness` is the width of the edge in head units, added to one pixel.
        """
        t = distance * (-1.0 / (softness + 1.0 / self.unit))
        t += 0.5
        return _smooth(t)

    def paint(self, alpha: Array, colour: Array) -> None:
        """Move the planes to `colour`, (3,) or (3, H, W), by the share `alpha`."""
        for plane, value in zip(self.planes, colour, strict=True):
            change = value - plane
            change *= alpha
            plane += change

    def shade(self, alpha: Array, factor: float) -> None:
        """Multiply the planes by `factor` where alpha is 1; shadows keep some red, as skin does."""
        tint = np.array([factor + 0.25 * (1.0 - factor), factor, factor * factor**0.1])
        for plane, gain in zip(self.planes, tint, strict=True):
            plane *= 1.0 - alpha * (1.0 - gain)

    def ellipse(
        self, u: float, v: float, ru: float, rv: float, colour: Array,
        opacity: float = 1.0, softness: float = 0.0,
    ) -> None:  # fmt: skip
        """Paint an ellipse around (u, v) with the radii `ru` and `rv`."""
        part = self.crop(u, v, ru + softness + 0.05, rv + softness + 0.05)
        radius = np.sqrt(((part.u - u) / ru) ** 2 + ((part.v - v) / rv) ** 2)
        part.paint(opacity * part.edge((radius - 1.0) * min(ru, rv), softness), colour)

    def glow(self, u: float, v: float, ru: float, rv: float, colour: Array, opacity: float) -> None:
        """Paint a soft blob of `colour`."""
        part = self.crop(u, v, 2.0 * ru, 2.0 * rv)
        part.paint(opacity * part.blob(u, v, ru, rv), colour)

    def shadow(self, u: float, v: float, ru: float, rv: float, factor: float) -> None:
        """Shade a soft blob by `factor`."""
        part = self.crop(u, v, 2.0 * ru, 2.0 * rv)
        part.shade(part.blob(u, v, ru, rv), factor)

    def blob(self, u: float, v: float, ru: float, rv: float) -> Array:
        """Return a bump of height 1, close to exp(-r**2) but exactly 0 from r = 2 on."""
        square = ((self.u - u) * (0.5 / ru)) ** 2 + ((self.v - v) * (0.5 / rv)) ** 2
        bump: Array = np.square(np.square(np.maximum(1.0 - square, 0.0)))
        return bump


def ramp(x: Array, start: float, stop: float) -> Array:
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


def texture(rng: Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Value noise in [-1, 1]: a random lattice of `cells`, interpolated smoothly to `shape`."""
    return stretch(rng.uniform(-1.0, 1.0, cells), shape, smooth=True)


def stretch(lattice: Array, shape: tuple[int, ...], smooth: bool = False) -> Array:
    """Interpolate the last two axes to `shape`, from corner to corner."""
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


def strand_noise(rng: Generator, place: Array, count: int) -> Array:
    """Noise in [-1, 1] along `place` (any range around [-1, 1]), about `count` strands wide."""
    knots = np.linspace(-2.2, 2.2, 2 * count)
    fine, coarse = rng.uniform(-1, 1, 2 * count), rng.uniform(-1, 1, 2 * count)
    detail = np.interp(place, knots, fine)
    return 0.6 * detail + 0.4 * np.interp(place * 0.23, knots, coarse)


def mix(first: Array, second: Array, share: float) -> Array:
    """Interpolate: `first` where `share` is 0, `second` where it is 1."""
    return first + share * (second - first)
