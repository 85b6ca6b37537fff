"""The same as ``mmcompress convert``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('convert')
