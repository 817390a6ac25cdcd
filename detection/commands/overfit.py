"""`python -m detection.commands.overfit`: overfit a few images as a check of the training."""

import sys
from collections.abc import Sequence

from data.command_line import new_parser, run
from data.commands.options import add_dataset_options
from data.datasets.registry import open_dataset
from data.errors import DatasetError
from detection.training.overfit_check import overfit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; exit code 1 where the mAP stays at or below 90."""
    parser = new_parser(prog="python -m detection.commands.overfit", description=(__doc__ or "").splitlines()[0])
    add_dataset_options(parser, default="voc")
    parser.add_argument("--split", default="2007-trainval")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--input-size", type=int, default=304)
    options = parser.parse_args(argv)

    def body() -> int:
        dataset = open_dataset(options.dataset, options.root, options.split)
        records = [record for record in dataset.records if (~record.difficult & ~record.crowd).any()]
        records = records[: options.pictures]
        if not records:
            raise DatasetError(f"split {options.split} has no picture with an object to learn")
        score = 100 * overfit(records, dataset.class_names, options.steps, options.input_size)
        print(f"mAP on the {len(records)} pictures learnt by heart: {score:.1f} (expected: over 90)")
        return 0 if score > 90 else 1

    return run(body)


if __name__ == "__main__":
    sys.exit(main())
