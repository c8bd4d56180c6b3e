"""``python -m cryptoquant.cli`` is the executable ``cryptoquant``."""

from cryptoquant.cli.app import main

main()
