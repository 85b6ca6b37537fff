"""The tool make_sub_images: what it does is in mmcompress/cli/data/crop.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.data.crop import main

if __name__ == '__main__':
    run(main)
