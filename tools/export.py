"""The tool export: what it does is in mmcompress/cli/export.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.export import main

if __name__ == '__main__':
    run(main)
