"""The tool make_digits: what it does is in mmcompress/cli/data/digits.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.data.digits import main

if __name__ == '__main__':
    run(main)
