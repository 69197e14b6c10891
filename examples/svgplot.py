"""svgplot: a block that draws curves over a logarithmic axis, as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import connectors
from connectors import Parallelization

Point = tuple[float, float]

PALE, GREY = 'stroke="#e8e8e8"', 'stroke="#b0b0b0"'
STYLES = (
    'stroke="#86c1e8" stroke-width="4.5"',
    'stroke="#b3261e" stroke-width="1.4" stroke-dasharray="7 4"',
)


class Plot:
    """Draws up to two curves; the key of a curve is its name in the legend.

    Args:
        title: What stands above.
        x_axis: What stands at the horizontal axis, which is logarithmic.
        x_range: Where it begins and ends.
        y_axis: What stands at the vertical axis.
        y_range: Where it begins and ends.
    """

    LEFT, TOP, RIGHT, BOTTOM = 76, 56, 736, 380

    def __init__(
        self, title: str, x_axis: str, x_range: Point, y_axis: str, y_range: tuple[int, int]
    ) -> None:
        self._title = title
        self._x_axis, self._x_range = x_axis, x_range
        self._y_axis, self._y_range = y_axis, y_range
        self._curves = connectors.MultiInputData()

    @connectors.MultiInput("svg")
    def add_curve(self, curve: Iterable[Point]) -> Any:
        return self._curves.add(curve)

    @add_curve.remove
    def remove_curve(self, name: Any) -> None:
        del self._curves[name]

    @add_curve.replace
    def replace_curve(self, name: Any, curve: Iterable[Point]) -> Any:
        self._curves[name] = curve
        return name

    @connectors.Output(parallelization=Parallelization.SEQUENTIAL)
    def svg(self) -> str:
        """Return the picture."""
        head = 'viewBox="0 0 760 440" font-family="sans-serif" font-size="13" fill="#333"'
        x, y = (self.LEFT + self.RIGHT) / 2, (self.TOP + self.BOTTOM) / 2
        parts = [
            '<rect width="760" height="440" fill="white"/>',
            text(self.LEFT, 34, "start", self._title, 'font-size="16"'),
            text(x, self.BOTTOM + 46, "middle", self._x_axis),
            text(-y, 26, "middle", self._y_axis, 'transform="rotate(-90)"'),
            *self._grid(),
            *self._lines(),
        ]
        return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {head}>', *parts, "</svg>\n"])

    def _grid(self) -> Iterator[str]:
        low, high = self._x_range
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        for value in (digit * 10**decade for decade in decades for digit in range(1, 10)):
            if low <= value <= high:
                x, _ = self._place((value, 0))
                named = f"{value:g}"[0] in "125"
                yield line(GREY if named else PALE, (x, self.TOP), (x, self.BOTTOM))
                yield text(x, self.BOTTOM + 20, "middle", f"{value:,}" if named else "")
        for value in range(self._y_range[0], self._y_range[1] + 1, 10):
            _, y = self._place((low, value))
            yield line(PALE if value else GREY, (self.LEFT, y), (self.RIGHT, y))
            yield text(self.LEFT - 10, y + 4, "end", str(value).replace("-", "\u2212"))

    def _lines(self) -> Iterator[str]:
        low, high = self._x_range
        x, y = self.LEFT + 20, self.TOP + 4
        height = 22 * min(len(self._curves), len(STYLES)) + 14
        yield f'<rect x="{x - 12}" y="{y + 4}" width="136" height="{height}" fill="white" {PALE}/>'
        for style, (name, curve) in zip(STYLES, self._curves.items(), strict=False):
            y += 22
            yield line(style, *(self._place(point) for point in curve if low <= point[0] <= high))
            yield line(style, (x, y), (x + 36, y))
            yield text(x + 46, y + 4, "start", name)

    def _place(self, point: Point) -> Point:
        low, high = self._x_range
        across = math.log(point[0] / low, high / low)
        low, high = self._y_range
        up = (point[1] - low) / (high - low)
        x = self.LEFT + across * (self.RIGHT - self.LEFT)
        return x, self.BOTTOM - up * (self.BOTTOM - self.TOP)


def line(style: str, *points: Point) -> str:
    """Return a line in SVG."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke-linejoin="round" {style} points="{path}"/>'


def text(x: float, y: float, anchor: str, words: str, style: str = "") -> str:
    """Return a text in SVG."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{words}</text>'
