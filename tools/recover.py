"""The same as ``mmcompress recover``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('recover')
