"""The same as ``mmcompress export``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('export')
