"""Altered versions of training images, as they would come back from the web.

Images that people pass on were shrunk, blurred and compressed again. A head that has learnt from
such versions of its training images withstands them, and carries over to other data sets better.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from deepfake.data.images import decode
from deepfake.data.shards import ImageFile, decoding
from deepfake.params import DrawParams

SIZES = (0.4, 1.0)  # fractions of a side that images are shrunk to
SIGMAS = (0.2, 1.2)  # of the blur, in pixels
QUALITIES = (50, 95)  # of JPEG


def with_draws(
    image_files: Iterable[ImageFile], params: DrawParams, seed: int
) -> Iterator[ImageFile]:
    """Each image, followed by `params.draws` altered versions of it.

    What is drawn for an image depends on `seed` and its `image_id` alone.
    """
    for image_file in image_files:
        yield image_file
        for number in range(params.draws):
            generator = np.random.default_rng([seed, int(image_file.image_id, 16), number])
            with decoding(image_file):
                data = altered(image_file.data, params, generator)
            yield replace(image_file, data=data)


def altered(data: bytes, params: DrawParams, generator: np.random.Generator) -> bytes:
    """The bytes of an image file after what `generator` draws: shrunk, blurred, compressed.

    Each happens or not by itself, in this order, with the probabilities in `params`. The size in
    pixels stays.
    """
    shrinks, blurs, compresses = generator.random(3) < (params.shrink, params.blur, params.jpeg)
    size, sigma = generator.uniform(*SIZES), generator.uniform(*SIGMAS)
    quality = int(generator.integers(*QUALITIES, endpoint=True))
    image = Image.fromarray(decode(data))
    if shrinks:
        smaller = (max(1, round(image.width * size)), max(1, round(image.height * size)))
        image = image.resize(smaller, Image.Resampling.BILINEAR).resize(
            image.size, Image.Resampling.BILINEAR
        )
    if blurs:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    file = io.BytesIO()
    if compresses:
        image.save(file, "JPEG", quality=quality)
    else:
        image.save(file, "BMP")  # neither lossy nor slow
    return file.getvalue()
