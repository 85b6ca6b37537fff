"""The tool plot: what it does is in mmcompress/cli/plot.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.plot import main

if __name__ == '__main__':
    run(main)
