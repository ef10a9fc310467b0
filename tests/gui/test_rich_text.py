"""What a label makes of HTML with numbers in it."""

from __future__ import annotations

from PySide6.QtGui import QTextDocument, QTextLayout
from PySide6.QtWidgets import QApplication

from engine import numbers
from gui.rich_text import rich


def lines(html: str, width: float) -> list[str]:
    """The lines of one paragraph that is ``width`` pixels wide."""
    document = QTextDocument()
    document.setHtml(html)
    text = document.firstBlock().text()
    layout = QTextLayout(text)
    layout.beginLayout()
    found = []
    while (line := layout.createLine()).isValid():
        line.setLineWidth(width)
        found.append(text[line.textStart() : line.textStart() + line.textLength()])
    layout.endLayout()
    return found


def test_no_line_breaks_inside_a_number_with_its_unit(qapp: QApplication) -> None:
    kept = [numbers.value("macs_per_s", 38.7e9), numbers.duration(0.0382), numbers.difference(100, 391)]
    html = rich(f"Layers compute at {kept[0]} and take {kept[1]}, that is {kept[2]} of before.")
    for width in range(40, 400, 7):
        for line in lines(html, width):
            shown = line.replace("\N{NO-BREAK SPACE}", numbers.THIN).replace("\N{WORD JOINER}", "")
            assert not any(part in shown for part in ("38.7", "38.2", "3.91")) or any(
                each in shown for each in kept
            ), line
    assert len(lines(html, 100)) > 3


def test_paths_may_break_and_signs_are_text(qapp: QApplication) -> None:
    assert rich("/home/models/net.py") == "/home/models/net.py"
    assert rich("a < b & c") == "a &lt; b &amp; c"
