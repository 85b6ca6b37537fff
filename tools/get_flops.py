"""The tool get_flops: what it does is in mmcompress/cli/flops.py."""

from mmcompress.cli.launch import run
from mmcompress.cli.flops import main

if __name__ == '__main__':
    run(main)
