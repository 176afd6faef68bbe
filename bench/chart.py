"""Figures of the three transports as bars, in one SVG without scripts."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

COLOURS = {"A": "#b4530a", "B": "#1f6f8b", "C": "#6b7280"}
NAMES = {"A": "A  WebSocket", "B": "B  Server-Sent Events", "C": "C  hybrid"}
SHOWN = (
    ("first", "round_trips", "round trips before the first token", ""),
    ("first", "first_token_ms", "first token after", " ms"),
    ("viewers", "cpu_us_per_token", "processor time a token, 1,000 viewers", " µs"),
    ("viewers", "memory_kib_per_viewer", "memory a viewer", " KiB"),
    ("viewers", "bytes_per_token", "bytes a token", ""),
    ("cut", "next_token_ms", "next token after a cut", " ms"),
    ("words", "answer_ms", "an approval's answer is seen after", " ms"),
    ("words", "stop_ms", "a stop is on disk after", " ms"),
    ("lines", "server", "lines on the server", ""),
    ("lines", "client", "lines of a whole client", ""),
)
WIDTH, GROUP, BAR, LEFT, RIGHT = 760, 66, 14, 290, 90


def draw(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the chart of the rows that were measured; a bar's length is its share of its group's longest."""
    shown = [each for each in SHOWN if each[0] in rows]
    height = 50 + GROUP * len(shown)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13">'
        ),
        "<title>Three transports over one log: shorter is better</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (letter, name) in enumerate(NAMES.items()):
        at = 20 + number * 220
        parts.append(f'<rect x="{at}" y="16" width="12" height="12" fill="{COLOURS[letter]}"/>')
        parts.append(f'<text x="{at + 18}" y="27" fill="#222222">{escape(name)}</text>')
    for number, (row, key, words, unit) in enumerate(shown):
        parts += _group(50 + number * GROUP, rows[row], key, words, unit)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _group(top: int, row: dict[str, dict[str, Any]], key: str, words: str, unit: str) -> list[str]:
    most = max(float(figures[key]) for figures in row.values()) or 1.0
    parts = [f'<text x="20" y="{top + 28}" fill="#222222">{escape(words)}</text>']
    for number, (letter, figures) in enumerate(row.items()):
        value, y = float(figures[key]), top + number * (BAR + 3)
        length = max(1.0, (WIDTH - LEFT - RIGHT) * value / most)
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[letter]}"/>')
        said = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}" fill="#222222">{said}{escape(unit)}</text>')
    return parts
