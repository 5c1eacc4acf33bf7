"""Runs a command on a terminal of its own, tells what it shows while it waits, and draws what was on the screen as SVG.

terminal_picture.py FILE PROMPT COMMAND…    The first line on standard output is the user code; then it waits for the command's end.
"""

import os
import pty
import re
import select
import struct
import sys
import fcntl
import termios
from html import escape

COLUMNS, ROWS = 96, 48
WIDTH, HEIGHT = 8.4, 18
CODE = re.compile(r"\b[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}\b")


class Screen:
    """As much of a terminal as the command uses: lines, carriage returns, erasing a line's end, and black on white."""

    def __init__(self):
        self.rows, self.row, self.column, self.paper = [[]], 0, 0, False

    def feed(self, text):
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", text, re.S):
            if token == "\n":
                self.row += 1
                while len(self.rows) <= self.row:
                    self.rows.append([])
                self.column = 0
            elif token == "\r":
                self.column = 0
            elif token == "\x1b[K":
                del self.rows[self.row][self.column:]
            elif token.startswith("\x1b["):
                assert token.endswith("m"), token
                self.paper = token == "\x1b[30;107m"
            else:
                line = self.rows[self.row]
                line.extend([(" ", False)] * (self.column + 1 - len(line)))
                line[self.column] = (token, self.paper)
                self.column += 1

    def copy(self):
        return [list(row) for row in self.rows]


def draw(rows, first):
    """The rows as SVG: half blocks as what they stand for, for fonts differ in them."""
    parts = []
    for number, row in enumerate(rows):
        y = (number + first) * HEIGHT
        papers = [column for column, (_, paper) in enumerate(row) if paper]
        if papers:
            left, width = papers[0] * WIDTH, (papers[-1] - papers[0] + 1) * WIDTH
            parts.append(f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT}.5" class="p"/>')
        path = ""
        for column, (character, _) in enumerate(row):
            top, size = {"█": (0, HEIGHT), "▀": (0, HEIGHT / 2), "▄": (HEIGHT / 2, HEIGHT / 2)}.get(character, (0, 0))
            if size:
                path += f"M{column * WIDTH:.1f} {y + top:.0f}h{WIDTH + 0.3:.1f}v{size:.0f}h-{WIDTH + 0.3:.1f}z"
        if path:
            parts.append(f'<path d="{path}"/>')
        text = "".join(" " if character in "█▀▄" else character for character, _ in row).rstrip()
        if text.strip():
            parts.append(f'<text x="0" y="{y + 13}">{escape(text)}</text>')
    return "".join(parts)


def svg(prompt, waiting, ended):
    lines = max(len(waiting), len(ended)) + 1
    width, height = COLUMNS * WIDTH + 32, lines * HEIGHT + 56
    command = f'<text x="0" y="13"><tspan class="d">$</tspan> {escape(prompt)}</text>'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(prompt)}">
<style>
.b{{fill:#16191f}} .p{{fill:#fff}} path{{fill:#000}} .d{{fill:#7d8590}}
text{{fill:#e6edf3;font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
.w{{visibility:hidden}}
@media (prefers-reduced-motion:no-preference){{
.w{{animation:w 9s step-end infinite}} .e{{animation:e 9s step-end infinite}}
@keyframes w{{0%{{visibility:visible}} 60%{{visibility:hidden}}}} @keyframes e{{0%{{visibility:hidden}} 60%{{visibility:visible}}}}
}}
</style>
<rect class="b" width="{width:.0f}" height="{height:.0f}" rx="8"/>
<circle cx="18" cy="16" r="5" class="d"/><circle cx="36" cy="16" r="5" class="d"/><circle cx="54" cy="16" r="5" class="d"/>
<g transform="translate(16 34)" xml:space="preserve">{command}
<g class="w">{draw(waiting, 1)}</g>
<g class="e">{draw(ended, 1)}</g>
</g></svg>
"""


def main():
    target, prompt, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen, waiting, told, rest = Screen(), None, False, b""
    while True:
        select.select([terminal], [], [])
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b""
        if not piece:
            break
        rest += piece
        # A character or a sequence may still be on its way.
        whole = rest.decode("utf-8", "ignore")
        if whole.encode() != rest or re.search(r"\x1b(\[[0-9;]*)?$", whole):
            continue
        rest = b""
        screen.feed(whole)
        text = "\n".join("".join(character for character, _ in row) for row in screen.rows)
        if "Waiting" in text:
            waiting = screen.copy()
        found = CODE.search(text)
        if found and not told:
            print(found.group(), flush=True)
            told = True
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0 and waiting, (status, screen.rows)
    with open(target, "w", encoding="utf-8") as file:
        file.write(svg(prompt, waiting, screen.rows))


main()
