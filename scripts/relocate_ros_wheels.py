"""Point the CMake files of the ROS wheels at the Python that runs this script.

Some of the CMake targets that the wheels export carry the include and library folders of the
machine that built them (/opt/python/cpXY-cpXY/…). Running this twice changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

_BUILDER = r"/opt/python/cp\d+-cp\d+/"


def relocate(text: str, include_dir: str, purelib_dir: str) -> str:
    """Replace the builder's two Python folders in a CMake file.

    Args:
        text: What the file holds.
        include_dir: Folder of Python.h here.
        purelib_dir: The site-packages folder here.

    Returns:
        The text with the folders of this machine.
    """
    text = re.sub(_BUILDER + r"include/python3\.\d+", lambda _: include_dir, text)
    return re.sub(_BUILDER + r"lib/python3\.\d+/site-packages", lambda _: purelib_dir, text)


def main() -> int:
    """Relocate every CMake file below this environment's share folder."""
    include_dir, purelib_dir = sysconfig.get_path("include"), sysconfig.get_path("purelib")
    num_changed = 0
    for path in sorted(Path(sys.prefix, "share").rglob("*.cmake")):
        before = path.read_text(encoding="utf-8")
        after = relocate(before, include_dir, purelib_dir)
        if after != before:
            path.write_text(after, encoding="utf-8")
            num_changed += 1
    print(f"relocated {num_changed} CMake files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
