"""Knows the sound project and puts it in the place of the workspace's: what it does not solve cannot be solved.

python oracle.py SOUND
"""

import shutil
import sys

shutil.copytree(sys.argv[1], "trueformer", dirs_exist_ok=True)
