"""The command line as ``python -m cnnlab``; see ``publish/command_line.py``."""

import sys

from cnnlab.publish.command_line import main

if __name__ == "__main__":
    sys.exit(main())
