"""One file = one family = paper, modules, losses, graphs. A recipe's `family` is the file's name."""
