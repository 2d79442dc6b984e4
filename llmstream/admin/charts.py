"""Bar charts as SVG: geometry here, colours in the style sheet, so that they need neither scripts nor inline styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 360, 120
_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, and the values that are stacked in it."""

    label: str
    values: Sequence[float]

    @property
    def total(self) -> float:
        """All values."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Rect:
    """A piece of a bar, in units of the drawing."""

    x: str
    y: str
    width: str
    height: str
    series: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A row of bars from zero up to the largest of them."""

    title: Any
    unit: str
    bars: Sequence[Bar]

    @property
    def view_box(self) -> str:
        """The drawing's size."""
        return f"0 0 {WIDTH} {HEIGHT}"

    @property
    def largest(self) -> str:
        """The largest bar's value."""
        return self.text(max((bar.total for bar in self.bars), default=0.0))

    @property
    def first(self) -> str:
        """The first bar's label."""
        return self.bars[0].label

    @property
    def last(self) -> str:
        """The last bar's label."""
        return self.bars[-1].label

    def text(self, value: float) -> str:
        """Return a value for people."""
        number = f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
        return f"{number} {self.unit}".strip()

    def drawn(self) -> Iterator[tuple[str, list[Rect]]]:
        """Yield for each bar what it says and what it is made of."""
        top = max((bar.total for bar in self.bars), default=0.0) or 1.0
        step = WIDTH / max(len(self.bars), 1)
        # A single day is a bar, not a wall.
        width = min(step * (1 - _GAP), WIDTH / 8)
        for number, bar in enumerate(self.bars):
            rects, base = [], float(HEIGHT)
            for series, value in enumerate(bar.values):
                height = HEIGHT * value / top
                base -= height
                rects.append(Rect(f"{number * step:.2f}", f"{base:.2f}", f"{width:.2f}", f"{height:.2f}", series))
            yield f"{bar.label}: {', '.join(map(self.text, bar.values))}", rects
