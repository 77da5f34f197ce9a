"""Put the JSON files of a run into docs/interfaces.md, values unchanged, lines joined.

    seg2d3d simulate drive --length-m 20 --seed 7
    seg2d3d replay drive/bag --out result
    python docs/refresh_examples.py drive/truth result docs/interfaces.md

The block below each `<!-- example: NAME -->` becomes the file of that name in one of the folders.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

WIDTH = 120
BLOCK = re.compile(r"(<!-- example: (\S+) -->\n\n```json\n).*?(\n```)", re.DOTALL)


def main() -> None:
    """Rewrite the examples in place."""
    parser = argparse.ArgumentParser(description="Refresh the examples of a document.")
    parser.add_argument("folders", nargs="+", type=Path, help="where the files are")
    parser.add_argument("document", type=Path)
    args = parser.parse_args()

    def fill(match: re.Match[str]) -> str:
        path = next(f / match[2] for f in args.folders if (f / match[2]).is_file())
        return match[1] + layout(json.loads(path.read_text())) + match[3]

    args.document.write_text(BLOCK.sub(fill, args.document.read_text()))


def layout(value: Any, indent: int = 0, used: int = 0) -> str:
    """Return JSON in which what is short enough stands on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or indent + used + len(line) <= WIDTH:
        return line
    margin = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {layout(v, indent + 2, len(k) + 4)}" for k, v in value.items()]
    else:
        parts = [layout(v, indent + 2) for v in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(margin + row for row in rows(parts, WIDTH - len(margin)))
    return f"{first}\n{body}\n{' ' * indent}{last}"


def rows(parts: list[str], width: int) -> list[str]:
    """Join parts that fit on a line; those of several lines stand alone."""
    out: list[str] = []
    for part in parts:
        if out and "\n" not in out[-1] + part and len(out[-1]) + 2 + len(part) <= width:
            out[-1] += ", " + part
        else:
            out.append(part)
    return out


if __name__ == "__main__":
    main()
