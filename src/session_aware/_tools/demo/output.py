"""Write to the terminal, or plainly to whatever stands in its place."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Final

from session_aware._tools.demo.model import PREFIX

if TYPE_CHECKING:
    from session_aware._tools.demo.timeline import Moment, Timeline

__all__ = ["Output"]

# The terminal's own green and red and its bold: they can be read on a dark and on a light background.
_STYLES: Final = {"bold": "\x1b[1m", "good": "\x1b[32m", "bad": "\x1b[31m"}
_RESET: Final = "\x1b[0m"
_ENDS: Final = {"BEGIN": "bold", "COMMIT": "good", "ROLLBACK": "bad"}
_WIDEST: Final = 120
_FIRST, _LAST = 6, 3


class Output:
    """Standard output in colours if it is a terminal and NO_COLOR is not set, and a progress line on standard error."""

    def __init__(self) -> None:
        self._is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
        self._progress = sys.stderr if sys.stderr.isatty() else None
        self._drawn = 0

    def line(self, text: str = "", style: str | None = None) -> None:
        """Write one line."""
        sys.stdout.write(f"{self._styled(text, style)}\n")

    def timeline(self, title: str, timeline: Timeline, outcome: str) -> None:
        """Write what a call did: when, what; and how it ended."""
        self.line()
        self.line(title, "bold")
        hidden = len(timeline.moments) - _FIRST - _LAST
        for index, moment in enumerate(timeline.moments):
            if hidden <= 1 or index < _FIRST or index >= _FIRST + hidden:
                self._moment(moment)
            elif index == _FIRST:
                self.line(f"{'':12}... {hidden:,} more ...")
        self.line(f"{timeline.seconds * 1000:8.2f} ms  {outcome}")

    def _moment(self, moment: Moment) -> None:
        many = f" ({moment.rows} rows)" if moment.rows > 1 else ""
        text = shortened(moment.text, self._width - 13 - len(many))
        self.line(f"{moment.at * 1000:8.2f} ms  {self._styled(text, _ENDS.get(text))}{many}")

    def progress(self, done: int, total: int) -> None:
        """Draw the progress line anew, if there is a terminal to draw on."""
        self._draw(f"{done:,} of {total:,} transfers")

    def clear_progress(self) -> None:
        """Take the progress line away."""
        self._draw("")
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._progress is not None:
            # Spaces instead of an escape code, so that a terminal without any shows it too.
            self._progress.write(f"\r{text:{self._drawn}}")
            self._progress.flush()
            self._drawn = len(text)

    def _styled(self, text: str, style: str | None) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if style is not None and self._is_coloured else text


def shortened(statement: str, width: int) -> str:
    """Return a statement in one line, without what tells nothing here: columns selected, casts, names of parameters."""
    line = " ".join(statement.replace(PREFIX, "").split())
    line = re.sub(r"^SELECT .*? FROM ", "SELECT ... FROM ", line)
    line = re.sub(r"(%(?:\(\w+\))?s|\$\d+|:\w+|\?)(::\w+)?", "?", line)
    return line if len(line) <= width else f"{line[: max(width - 3, 0)]}..."
