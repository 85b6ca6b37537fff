"""``python -m mmcompress``."""

from mmcompress.cli import main

if __name__ == '__main__':
    main()
