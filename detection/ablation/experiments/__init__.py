"""Comparisons that ship with the package: YAML files, read by `detection.commands.ablate`."""
