"""`python -m nextword`."""

from nextword.cli import main

main()
