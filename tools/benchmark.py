"""The same as ``mmcompress bench``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('bench')
