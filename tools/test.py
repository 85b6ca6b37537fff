"""The same as ``mmcompress test``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main('test')
