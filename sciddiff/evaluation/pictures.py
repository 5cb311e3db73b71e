"""Pixels for people: images in one stretch, details worth looking at, error maps, and the panel of all of them."""

import base64
import io as streams
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.evaluation.compare import MEAN, SAMPLE, Comparison
from sciddiff.evaluation.tables import method_name, opponents

CELL = 256
"""Side of a picture of the panel."""
DETAIL = 64
"""Side of a detail, in target pixels."""
LARGEST = 768
"""Longest side of a whole scene in a report."""
LOSSLESS = 256
"""Pictures up to this side keep every pixel in a report."""
RAMP = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Colours of no error to the largest."""
PAPER, INK = (255, 255, 255), (34, 34, 34)


@dataclass(frozen=True)
class Stretch:
    """How values become colours, the same for every picture of a scene: bands of red, green, blue and their ranges."""

    bands: tuple[int, ...]
    low: NDArray[np.floating]
    high: NDArray[np.floating]

    def __call__(self, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> Image.Image:
        """(c, h, w) as RGBA, transparent where invalid."""
        from PIL import Image

        chosen = np.nan_to_num(values[list(self.bands)])
        share = (chosen - self.low[:, None, None]) / (self.high - self.low)[:, None, None]
        colour = np.rint(255 * np.clip(share, 0, 1) ** 0.8)
        alpha = 255 * valid[list(self.bands)].all(0)
        return Image.fromarray(np.dstack([*colour, alpha]).astype(np.uint8), "RGBA")


def stretch_of(comparison: Comparison) -> Stretch:
    """Natural colours where the bands are known, else the first three or the only one; the middle 98 % of the truth."""
    try:
        bands = tuple(io.match_bands(["red", "green", "blue"], comparison.bands))
    except InputError:
        bands = (0, 1, 2) if len(comparison.bands) > 2 else (0, 0, 0)
    ranges = [np.quantile(comparison.truth[band][comparison.valid[band]], [0.01, 0.99]) for band in bands]
    low, high = np.transpose(ranges)
    return Stretch(bands, low, np.where(high > low, high, low + 1))


def shown(comparison: Comparison) -> list[str]:
    """The methods that are worth a picture: a classical answer, then the model's."""
    wanted = [*opponents(comparison)[:1], MEAN, SAMPLE]
    return [name for name in dict.fromkeys(wanted) if name in comparison.estimates]


def details(comparison: Comparison, *, count: int = 2) -> list[tuple[int, int, int]]:
    """Squares (row, column, side) on whole measured pixels, all valid, where most edges of the truth are scored."""
    truth = np.where(comparison.valid, comparison.truth, np.nan)
    spread = np.nanstd(truth, (1, 2), keepdims=True)
    truth = np.nan_to_num(truth) / np.where(spread > 0, spread, 1)
    edges = np.hypot(ndimage.sobel(truth, 1), ndimage.sobel(truth, 2)).sum(0)
    edges = np.minimum(edges, np.quantile(edges, 0.95))  # many edges rather than a few bright ones
    edges = edges * comparison.scored.any(0)
    known: NDArray[np.bool_] = np.logical_and.reduce(comparison.valid)
    for part in (1, 2, 4):
        side = min(DETAIL // part, *truth.shape[1:]) // comparison.ratio * comparison.ratio
        found = _busiest(edges, known, side, count=count, unit=comparison.ratio) if side else []
        if found:
            return found
    return []


def _busiest(
    edges: NDArray[np.floating], valid: NDArray[np.bool_], side: int, *, count: int, unit: int
) -> list[tuple[int, int, int]]:
    height, width = edges.shape
    sums = [
        ndimage.uniform_filter(values.astype(np.float64), side, mode="constant", origin=-(side // 2))
        for values in (valid, edges)
    ]
    busy = np.where(sums[0] > 1 - 0.5 / side**2, sums[1], -1.0)[: height - side + 1 : unit, : width - side + 1 : unit]
    found: list[tuple[int, int, int]] = []
    while len(found) < count and busy.max() >= 0:
        row, col = (int(place) for place in np.unravel_index(busy.argmax(), busy.shape))
        found.append((row * unit, col * unit, side))
        near = 3 * side // (2 * unit)
        busy[max(0, row - near) : row + near, max(0, col - near) : col + near] = -1
    return found


def error_map(comparison: Comparison, method: str) -> NDArray[np.floating]:
    """Root mean square error over bands in spreads of the truth's band, (h, w); NaN where invalid."""
    truth = np.where(comparison.valid, comparison.truth, np.nan).astype(np.float64)
    spread = np.nanstd(truth, (1, 2), keepdims=True)
    error = (comparison.estimates[method] - truth) / np.where(spread > 0, spread, 1)
    every = np.isfinite(error).all(0)
    errors: NDArray[np.floating] = np.where(every, np.sqrt((np.where(every, error, 0) ** 2).mean(0)), np.nan)
    return errors


def error_limit(comparison: Comparison) -> float:
    """Common end of the error's colours: nearly the largest error of the first method that is shown."""
    return float(np.nanquantile(error_map(comparison, shown(comparison)[0]), 0.99)) or 1.0


def coloured(errors: NDArray[np.floating], limit: float) -> Image.Image:
    """An error map as RGBA, transparent where invalid."""
    place = np.clip(np.nan_to_num(errors) / limit, 0, 1) * (len(RAMP) - 1)
    channels = [np.interp(place, range(len(RAMP)), channel) for channel in zip(*RAMP)]
    pixels = np.dstack([*channels, 255 * np.isfinite(errors)])
    return Image.fromarray(np.rint(pixels).astype(np.uint8), "RGBA")


def data_uri(image: Image.Image) -> str:
    """A picture that stands inside a page: PNG where small, else WebP, at most `LARGEST` pixels wide and high."""
    if max(image.size) > LARGEST:
        share = LARGEST / max(image.size)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BOX)
    kind = "PNG" if max(image.size) <= LOSSLESS else "WEBP"
    buffer = streams.BytesIO()
    image.save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def columns(comparison: Comparison) -> list[tuple[str, Image.Image]]:
    """Titles and pictures of the whole scene: what was measured, the methods that are shown, the truth."""
    paint = stretch_of(comparison)
    methods = [(method_name(name), paint(comparison.estimates[name], comparison.valid)) for name in shown(comparison)]
    low = paint(comparison.low, comparison.low_valid)
    return [("measured", low), *methods, ("truth", paint(comparison.truth, comparison.valid))]


def cut(comparison: Comparison, picture: Image.Image, detail: tuple[int, int, int]) -> Image.Image:
    """A detail of a picture of the whole scene, be it on the target grid or on the low one."""
    share = picture.width / comparison.truth.shape[2]
    row, col, side = (round(number * share) for number in detail)
    return picture.crop((col, row, col + side, row + side))


def panel(comparison: Comparison) -> Image.Image:
    """Everything at a glance: whole scenes, details, errors; one column a method."""
    pictures, squares = columns(comparison), details(comparison)
    limit = error_limit(comparison)
    height = round(CELL * comparison.truth.shape[1] / comparison.truth.shape[2])
    tops = _tops([height, *[CELL] * len(squares), height])
    margin, gap = 12, 8
    size = (2 * margin + len(pictures) * (CELL + gap) - gap, tops[-1] + margin)
    sheet = Image.new("RGB", size, PAPER)
    pen, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(17), ImageFont.load_default(13)
    for number, (title, picture) in enumerate(pictures):
        left = margin + number * (CELL + gap)
        pen.text((left, 10), title, INK, font)
        pen.text((left, 32), _caption(comparison, title), INK, small)
        _paste(sheet, picture, (left, tops[0]), (CELL, height))
        for letter, square in zip("ABCD", squares):
            _frame(pen, square, letter, left=left, top=tops[0], share=CELL / comparison.truth.shape[2])
        for top, square in zip(tops[1:], squares):
            _paste(sheet, cut(comparison, picture, square), (left, top), (CELL, CELL))
    for letter, top in zip("ABCD", tops[1 : 1 + len(squares)]):
        pen.text((margin + 6, top + 4), letter, PAPER, font, stroke_width=2, stroke_fill=INK)
    for number, method in enumerate(shown(comparison), 1):
        left = margin + number * (CELL + gap)
        _paste(sheet, coloured(error_map(comparison, method), limit), (left, tops[-2]), (CELL, height))
    _legend(sheet, limit, left=margin, top=tops[-2])
    return sheet


def _tops(heights: Sequence[int]) -> list[int]:
    tops = [56]
    for height in heights:
        tops.append(tops[-1] + height + 8)
    return tops


def _caption(comparison: Comparison, title: str) -> str:
    psnr = {method_name(name): scores.psnr for name, scores in comparison.scores.items()}
    if title in psnr:
        return f"PSNR {psnr[title]:.2f} dB"
    height, width = comparison.low.shape[1:] if title == "measured" else comparison.truth.shape[1:]
    return f"{width} x {height} pixels"


def _paste(sheet: Image.Image, picture: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> None:
    """Enlarge by whole pixels, shrink by areas."""
    grows = picture.width <= size[0]
    picture = picture.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.BOX)
    sheet.paste((216, 216, 216), (*place, place[0] + size[0], place[1] + size[1]))
    sheet.paste(picture, place, picture.getchannel("A"))


def _frame(
    pen: ImageDraw.ImageDraw, square: tuple[int, int, int], letter: str, *, left: int, top: int, share: float
) -> None:
    row, col, side = (number * share for number in square)
    pen.rectangle((left + col - 1, top + row - 1, left + col + side, top + row + side), outline=INK)
    pen.rectangle((left + col, top + row, left + col + side - 1, top + row + side - 1), outline=PAPER)
    font = ImageFont.load_default(13)
    pen.text((left + col + 3, top + row + 1), letter, PAPER, font, stroke_width=1, stroke_fill=INK)


def _legend(sheet: Image.Image, limit: float, *, left: int, top: int) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    bar = coloured(np.linspace(0, limit, 200)[None].repeat(14, 0), limit)
    pen.text((left, top), "error, over all bands,", INK, font)
    pen.text((left, top + 18), "in spreads of the band", INK, font)
    sheet.paste(bar, (left, top + 42))
    pen.text((left, top + 60), "0", INK, font)
    pen.text((left + 200, top + 60), f"{limit:.2g}", INK, font, anchor="ra")
