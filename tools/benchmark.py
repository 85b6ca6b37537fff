"""The tool benchmark: what it does is in mmcompress/cli/bench.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.bench import main

if __name__ == '__main__':
    run(main)
