"""The same as ``mmcompress data digits``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('data', 'digits')
