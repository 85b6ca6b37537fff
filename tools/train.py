"""The same as ``mmcompress train``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('train')
