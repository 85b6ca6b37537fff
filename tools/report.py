"""The same as ``mmcompress report``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('report')
