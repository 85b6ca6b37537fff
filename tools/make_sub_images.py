"""The same as ``mmcompress data crop``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('data', 'crop')
