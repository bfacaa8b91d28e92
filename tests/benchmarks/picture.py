"""The report as a picture: for each figure a bar as long as its ratio, and a line where both sides are equal.

A thin line through a bar's end spans the ratios of the rounds.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["drawn"]

_WIDTH, _ROW, _TOP, _BOTTOM = 860, 34, 56, 44
_BARS, _LONGEST = 160, 400
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.title { font-size: 15px; font-weight: 600 }
.ahead { fill: #2f7d4f } .behind { fill: #b3721d }
.equal { stroke: #59636e; stroke-dasharray: 3 3 }
.spread { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .ahead { fill: #4fae78 } .behind { fill: #d9963c }
  .equal { stroke: #9198a1 } .spread { stroke: #e6edf3 }
}
"""


def drawn(report: Mapping[str, Any]) -> str:
    """Return the SVG of the report in the JSON file."""
    figures = report["figures"]
    height = _TOP + len(figures) * _ROW + _BOTTOM
    scale = _LONGEST / max(1.25, *(ratio for each in figures for ratio in each["ratios"]))
    equal = _BARS + scale
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="t">',
        f'<title id="t">{escape(_said(figures))}</title>',
        f"<style>{_STYLE}</style>",
        '<text class="title" x="16" y="26">Ratio of each figure: beyond the line, this package is ahead</text>',
        f'<line class="equal" x1="{equal:.1f}" x2="{equal:.1f}" y1="{_TOP - 8}" y2="{height - _BOTTOM}"/>',
        f'<text class="small" x="{equal:.1f}" y="{_TOP - 12}" text-anchor="middle">equal</text>',
        *(line for index, each in enumerate(figures) for line in _bar(each, _TOP + index * _ROW, scale)),
        f'<text class="small" x="16" y="{height - 16}">{escape(machine)}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(figure: Mapping[str, Any], top: int, scale: float) -> Iterator[str]:
    ratio, middle = figure["ratio"], top + _ROW / 2
    low, high = (_BARS + edge * scale for edge in (min(figure["ratios"]), max(figure["ratios"])))
    over, under = (f"{side['name']}: {side['median']:,.0f} {figure['unit']}" for side in figure["sides"])
    kind = "ahead" if ratio >= 1 else "behind"
    yield f'<text x="{_BARS - 12}" y="{middle + 4}" text-anchor="end">{escape(figure["name"])}</text>'
    yield f'<rect class="{kind}" x="{_BARS}" y="{top + 6}" width="{ratio * scale:.1f}" height="{_ROW - 14}" rx="3"/>'
    yield f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle - 1}" y2="{middle - 1}"/>'
    yield f'<text x="{_BARS + _LONGEST + 12}" y="{middle - 2}">{ratio:.2f}</text>'
    yield f'<text class="small" x="{_BARS + _LONGEST + 52}" y="{middle - 2}">{escape(over)}</text>'
    yield f'<text class="small" x="{_BARS + _LONGEST + 52}" y="{middle + 11}">{escape(under)}</text>'


def _said(figures: list[Mapping[str, Any]]) -> str:
    return "; ".join(f"{each['name']}: {each['ratio']:.2f} times" for each in figures)
