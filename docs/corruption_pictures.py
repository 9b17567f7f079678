"""Draw docs/corruptions.png: every corruption on synthetic tissue. Run `python -m docs.corruption_pictures`."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.pixels import corrupt_pixels
from raypipe.data.tissue import render_tile

PICTURE = Path(__file__).parent / "corruptions.png"
SIDE, GAP, MARGIN, LINE = 80, 4, 110, 18
"""Side length of a tile, space between tiles, width of the names and height of the heading, in pixels."""
COLORS = 128
"""Number of colors of the file, which is a third as large as with all of them."""


def draw_corruptions() -> Image.Image:
    """Return the picture: a row for each corruption, and columns for the unchanged tile and the severities 1 to 5."""
    tile = render_tile("colon_aca", 3, 0, size=SIDE, seed=0)
    step = SIDE + GAP
    sheet = Image.new("RGB", (MARGIN + 6 * step, LINE + len(CORRUPTIONS) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, heading in enumerate(("unchanged", "1", "2", "3", "4", "5")):
        draw.text((MARGIN + column * step, 2), heading, "black", font)
    for row, (name, corruption) in enumerate(CORRUPTIONS.items()):
        top = LINE + row * step
        draw.text((2, top + SIDE // 2 - 8), name, "black", font)
        cpu = torch.device("cpu")
        versions = [tile, *(corrupt_pixels(tile[None], name, level, 0, cpu)[0] for level in corruption.levels)]
        for column, pixels in enumerate(versions):
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (MARGIN + column * step, top))
    return sheet


if __name__ == "__main__":
    draw_corruptions().quantize(COLORS).save(PICTURE, optimize=True)
