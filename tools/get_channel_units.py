"""The same as ``mmcompress units``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('units')
