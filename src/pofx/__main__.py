"""`python -m pofx` is the command line."""

from pofx.cli import main

main()
