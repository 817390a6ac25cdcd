"""The commands of classification, runs and search, and options shared by all commands."""
