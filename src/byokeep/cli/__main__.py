"""``python -m byokeep.cli``: how the supervisor starts its children."""

from byokeep.cli.main import main

main()
