"""The same as ``mmcompress reproduce``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('reproduce')
