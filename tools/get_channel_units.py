"""The tool get_channel_units: what it does is in mmcompress/cli/units.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.units import main

if __name__ == '__main__':
    run(main)
