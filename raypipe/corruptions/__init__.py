"""Corruptions by name. To add one, write a function, and add a line to `CORRUPTIONS`.

The levels are those at which tissue tiles look as the severity says; docs/corruptions.md shows them.
"""

from raypipe.corruptions import camera, color, focus, slide
from raypipe.corruptions.base import Corruption

HEIGHTS = "tile heights"
CORRUPTIONS: dict[str, Corruption] = {
    "defocus": Corruption("defocus", focus.defocus, (0.006, 0.01, 0.015, 0.021, 0.028), f"radius in {HEIGHTS}"),
    "motion": Corruption("motion", focus.blur_motion, (0.015, 0.03, 0.045, 0.06, 0.08), f"length in {HEIGHTS}"),
    "pixelation": Corruption("pixelation", focus.pixelate, (0.7, 0.55, 0.45, 0.36, 0.28), "share of pixels per side"),
    "noise": Corruption("noise", camera.add_noise, (0.01, 0.02, 0.035, 0.055, 0.08), "standard deviation"),
    "shot_noise": Corruption("shot noise", camera.add_shot_noise, (2000, 700, 300, 130, 60), "photons"),
    "jpeg": Corruption("JPEG", camera.compress, (80, 60, 40, 25, 12), "quality"),
    "brightness": Corruption("brightness", color.change_brightness, (0.05, 0.1, 0.15, 0.22, 0.3), "change"),
    "contrast": Corruption("contrast", color.change_contrast, (0.1, 0.2, 0.3, 0.4, 0.5), "change"),
    "saturation": Corruption("saturation", color.change_saturation, (0.1, 0.2, 0.3, 0.45, 0.6), "change"),
    "hue": Corruption("hue", color.shift_hue, (0.01, 0.02, 0.035, 0.05, 0.07), "share of the color circle"),
    "stain": Corruption("stain variation", color.vary_stain, (0.1, 0.2, 0.3, 0.4, 0.5), "change of the amounts"),
    "scanner": Corruption("scanner colors", color.change_scanner, (0.04, 0.08, 0.12, 0.17, 0.22), "share and exponent"),
    "illumination": Corruption("uneven light", slide.light_unevenly, (0.1, 0.2, 0.3, 0.4, 0.5), "loss of brightness"),
    "fold": Corruption("fold", slide.fold, (0.05, 0.1, 0.16, 0.23, 0.3), f"width in {HEIGHTS}"),
    "bubble": Corruption("air bubble", slide.trap_bubble, (0.08, 0.14, 0.2, 0.27, 0.35), f"radius in {HEIGHTS}"),
    "dust": Corruption("dust", slide.drop_dust, (1, 2, 4, 7, 11), "grains"),
    "deposit": Corruption("stain deposit", slide.deposit_stain, (1, 2, 3, 5, 8), "deposits"),
}
"""The corruptions of pathology tiles."""
