"""Make a picture small enough for a document: fewer pixels, 128 colours.

python docs/images/shrink.py result/map.png docs/images/map.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image


def main() -> None:
    """Shrink one PNG."""
    parser = argparse.ArgumentParser(description="Shrink a PNG for a document.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width-px", type=int, default=1100)
    args = parser.parse_args()
    with Image.open(args.picture) as picture:
        height_px = round(picture.height * args.width_px / picture.width)
        small = picture.convert("RGB").resize((args.width_px, height_px), Image.Resampling.LANCZOS)
        small.quantize(128).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
