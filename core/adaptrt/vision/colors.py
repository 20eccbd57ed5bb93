"""Class colors: the same in every image, distinct from those of adjacent classes, of equal lightness."""

from __future__ import annotations

import functools
import math

Color = tuple[int, int, int]

DARK: Color = (17, 20, 24)
LIGHT: Color = (255, 255, 255)

_GOLDEN_ANGLE = 137.50776  # golden angle in degrees: successive hues never repeat
_FIRST_HUE = 255.0  # blue
_LIGHTNESS = (0.70, 0.78, 0.62)


@functools.cache
def class_color(label: int) -> Color:
    """sRGB, 0 to 255, of a class index: hues a golden angle apart in Oklch."""
    return _srgb_from_oklch(_LIGHTNESS[label % len(_LIGHTNESS)], 0.18, _FIRST_HUE + label * _GOLDEN_ANGLE)


def text_color(background: Color) -> Color:
    """Near-black or white, whichever has the higher WCAG contrast."""
    light, dark, behind = _luminance(LIGHT), _luminance(DARK), _luminance(background)
    return DARK if (behind + 0.05) / (dark + 0.05) > (light + 0.05) / (behind + 0.05) else LIGHT


def _luminance(color: Color) -> float:
    red, green, blue = (math.pow(value / 255, 2.2) for value in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _srgb_from_oklch(lightness: float, chroma: float, hue: float) -> Color:
    """Björn Ottosson's Oklab (2020); colors outside sRGB are clipped."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _gamma(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _gamma(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _gamma(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _gamma(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
