"""The tool test: what it does is in mmcompress/cli/test.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.test import main

if __name__ == '__main__':
    run(main)
