"""`python -m lmk`: the command line where the script `lmk` is not on the path."""

from lmk.cli.main import main

main()
