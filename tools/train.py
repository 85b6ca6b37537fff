"""The tool train: what it does is in mmcompress/cli/train.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.train import main

if __name__ == '__main__':
    run(main)
