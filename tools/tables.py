"""The same as ``mmcompress tables``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('tables')
