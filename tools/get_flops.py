"""The same as ``mmcompress flops``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('flops')
