#!/usr/bin/env python
"""Django's command line for the shop: `python testproject/manage.py`, from any directory."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

ROOT = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # A script that is run by its path finds its own directory first; its package is in the directory above.
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    execute_from_command_line(sys.argv)
