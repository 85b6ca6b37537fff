"""The same as ``mmcompress plot``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('plot')
