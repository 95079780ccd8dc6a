"""Manipulations of a face, as deepfakes carry them: between the camera and the encoder.

``warp``
    The face is replaced by a version of itself synthesised at a lower resolution, warped into
    place and blended over a soft boundary with slightly different colour. Face swaps do this
    because their networks produce faces of one fixed, small size: Li & Lyu 2018, "Exposing
    DeepFake Videos By Detecting Face Warping Artifacts" (arXiv 1811.00656); the blending boundary
    is what Li et al. 2020, "Face X-ray for More General Face Forgery Detection" (arXiv 1912.13458)
    look for.
``grid``
    A periodic texture of periods 4 and 8 pixels, as left by two upsampling stages whose kernels
    overlap unevenly: Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"
    (doi 10.23915/distill.00003); Durall et al. 2020, "Watch your Up-Convolution" (arXiv 2003.01826)
    show the same as a bent power spectrum. It is locked to the pixels and the same in every fake
    except for its level, as the fingerprint of one generator is: Marra et al. 2019, "Do GANs leave
    artificial fingerprints?" (arXiv 1812.11842).
``noise``
    Noise in the face that does not match its surroundings, in either direction: smoothed away, or
    stronger than the sensor's. A spliced face brings the noise of another camera, or none: Zhou
    et al. 2017, "Two-Stream Neural Networks for Tampered Face Detection" (arXiv 1803.11276).

Almost every fake has the grid, because a network with random weights can see it: its strided
convolutions always sample a pattern of period 4 or 8 at the same phase, and so turn it into a shift
of their mean activation. That holds where the network is shown images at their own size or enlarged
by a power of 2 (192 to 384, say). At 256 to 384 the phases drift and random weights see less;
networks that have learnt textures see the same.
"""

import numpy as np
from numpy.random import Generator

from deepfake.sources.portraits.camera import blur, sensor_noise
from deepfake.sources.portraits.canvas import Array, mix

MANIPULATIONS: tuple[str, ...] = ("warp", "grid", "noise")
# How often each is used in a fake, and how many fakes are nearly flawless: a tenth of the strength.
FREQUENCY = {"warp": 0.45, "grid": 0.99, "noise": 0.6}
FLAWLESS = 0.03
PERIODS = (4, 8)  # pixels; of the grid, one for each upsampling stage


def manipulate(planes: Array, face: Array, rng: Generator, strength: float) -> Array:
    """Apply one or several of `MANIPULATIONS` where the weight `face` is above 0."""
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


def _warp(planes: Array, rng: Generator, strength: float) -> Array:
    """Synthesised at a lower resolution, warped into place, in slightly different colour."""
    _, height, width = planes.shape
    scale = 1.0 / (1.0 + strength * rng.uniform(0.25, 1.0))
    small_height, small_width = max(4, int(height * scale)), max(4, int(width * scale))
    y = (np.arange(small_height)[:, None] + 0.5) * height / small_height - 0.5
    x = (np.arange(small_width)[None, :] + 0.5) * width / small_width - 0.5
    synthesised = _sample(blur(planes, 0.4 / scale), y + 0 * x, x + 0 * y)
    sharpen = rng.uniform(0.0, 0.6)  # generators are trained to look crisp
    synthesised = synthesised + sharpen * (synthesised - blur(synthesised, 0.8))
    turn, zoom = strength * rng.uniform(-0.04, 0.04), 1.0 + strength * rng.uniform(-0.04, 0.04)
    shift = strength * rng.uniform(-1.5, 1.5, 2)
    y, x = np.arange(height)[:, None] - height / 2, np.arange(width)[None, :] - width / 2
    back_y = (y - turn * x) * zoom + height / 2 + shift[0]
    back_x = (x + turn * y) * zoom + width / 2 + shift[1]
    warped = _sample(synthesised, (back_y + 0.5) * scale - 0.5, (back_x + 0.5) * scale - 0.5)
    gain = 1.0 + strength * rng.uniform(-0.03, 0.03, (3, 1, 1))
    return warped * gain


def _grid(planes: Array, rng: Generator, strength: float) -> Array:
    """The traces of two upsampling stages, the same in every image except for their level."""
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
        return mix(planes, blur(planes, 0.9), share)
    level = strength * rng.uniform(0.008, 0.022)
    return planes + sensor_noise(planes, rng, level, rng.uniform(0.0, 0.18))


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
