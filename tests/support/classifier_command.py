"""pelee-train-classifier with settings for a training of seconds, on the folders of `color_folders`."""

from pathlib import Path

from pelee.commands.train_classifier import main

# Long enough to be sure on any CPU: at 14 epochs rounding decides between 75 and 100 % of the validation images.
QUICK = ["--epochs", "20", "--batch-size", "8", "--lr", "0.02", "--precision", "fp32", "--ema-decay", "0.5"]
QUICK += ["--picture-size", "32", "--input-size", "48", "--size-phases", "[[32, 0.6]]", "--crop-scale", "0.5"]
QUICK += ["--validate-every", "5", "--no-export"]


def train_quickly(root: Path, output: Path, *words: str) -> int:
    """Run the command with `QUICK` and further arguments; returns its exit code."""
    return main(["--dataset", "imagefolder", "--root", str(root), "--output", str(output), *QUICK, *words])
