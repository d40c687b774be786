"""Turns a coloured terminal capture (standard input) into an SVG (standard output). The pictures in docs/ are made from real runs:

    tmux new-session -d -x 100 -y 30 -s demo 'build/release/bin/iotix-run scenarios/quickstart.lua; sleep 5'
    sleep 8;  tmux capture-pane -e -p -t demo | python3 docs/picture.py > docs/live.svg
    sleep 8;  tmux capture-pane -e -p -t demo | python3 docs/picture.py > docs/summary.svg
"""
import html
import re
import sys

COLORS = {"31": "#f47067", "32": "#57ab5a", "33": "#c69026", "34": "#539bf5", "35": "#b083f0", "36": "#39c5cf", "90": "#768390", "2": "#768390"}
CHAR_WIDTH, LINE_HEIGHT, PAD = 8.43, 18, 16

lines = sys.stdin.read().rstrip("\n ").split("\n")
while lines and not re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]).strip():
    lines.pop()
plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
width = max(len(line) for line in plain) * CHAR_WIDTH + 2 * PAD
height = len(lines) * LINE_HEIGHT + 2 * PAD
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14">')
print('<rect width="100%" height="100%" rx="8" fill="#22272e"/>')
for row, line in enumerate(lines):
    column, style = 0, ""
    y = PAD + LINE_HEIGHT * (row + 0.8)
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if code:
            for c in code.group(1).split(";"):
                if c in ("", "0", "39"):
                    style = ""
                elif c == "1":
                    style += ' font-weight="bold"'
                elif c in COLORS:
                    style = re.sub(r' fill="[^"]*"', "", style) + f' fill="{COLORS[c]}"'
            continue
        if part.strip():
            fill = "" if "fill=" in style else ' fill="#adbac7"'
            print(f'<text x="{PAD + column * CHAR_WIDTH:.1f}" y="{y:.1f}" xml:space="preserve" textLength="{len(part) * CHAR_WIDTH:.1f}"{fill}{style}>{html.escape(part)}</text>')
        column += len(part)
print("</svg>")
