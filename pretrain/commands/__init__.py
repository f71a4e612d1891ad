"""The parts of the ``pretrain`` command, one file each; ``cli.py`` puts them together."""
