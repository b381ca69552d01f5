"""`python -m gradprism`."""

from gradprism.cli import main

main()
