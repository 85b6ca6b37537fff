"""The same as ``mmcompress demo``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('demo')
