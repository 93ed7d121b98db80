"""Mends the CMake files of the ROS wheels in the virtual environment that runs this script.

The wheels export the include folders of the machine that built them, such as
/opt/python/cp311-cp311/include/python3.11. CMake refuses targets with folders that do not exist.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

REPLACEMENTS = {
    re.compile(r"/opt/python/[\w-]+/include/python3\.\d+"): sysconfig.get_path("include"),
    re.compile(r"/opt/python/[\w-]+/lib/python3\.\d+/site-packages/numpy/_?core/include"): numpy.get_include(),
}


def mend(text: str) -> str:
    for build_machine_path, path_here in REPLACEMENTS.items():
        text = build_machine_path.sub(lambda _, path=path_here: path, text)
    return text


def main() -> None:
    mended_count = 0
    for cmake_file in Path(sys.prefix, "share").glob("*/cmake/*.cmake"):
        text = cmake_file.read_text()
        mended = mend(text)
        if mended != text:
            cmake_file.write_text(mended)
            mended_count += 1
    print(f"      {mended_count} files changed")


if __name__ == "__main__":
    main()
