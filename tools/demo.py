"""The tool demo: what it does is in mmcompress/cli/demo.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.demo import main

if __name__ == '__main__':
    run(main)
