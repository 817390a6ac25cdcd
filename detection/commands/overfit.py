"""`python -m detection.commands.overfit`: overfit a few images as a check of the training."""

import sys
from collections.abc import Sequence

from data.command_line import new_parser, positive_int, run
from data.commands.options import add_dataset_options
from data.datasets.registry import open_dataset
from data.errors import DatasetError
from pelee.commands.options import add_hidden_alias


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and return its exit code: 1 if the mAP is at most 90."""
    parser = new_parser(prog="python -m detection.commands.overfit", description=(__doc__ or "").splitlines()[0])
    add_dataset_options(parser, default="voc")
    parser.add_argument("--split", default="2007-trainval", metavar="NAME", help="split of the dataset (%(default)s)")
    parser.add_argument("--num-images", type=positive_int, default=32, metavar="N", help="images (%(default)s)")
    add_hidden_alias(parser, "--pictures", dest="num_images", type=positive_int)
    parser.add_argument("--steps", type=positive_int, default=300, metavar="N", help="optimizer steps (%(default)s)")
    parser.add_argument(
        "--input-size", type=positive_int, default=304, metavar="PX", help="side of the network's input (%(default)s)"
    )
    options = parser.parse_args(argv)

    def body() -> int:
        from data.inspection.verification import verify_dataset
        from detection.training.overfit_check import overfit

        dataset = verify_dataset(open_dataset(options.dataset, options.root, options.split))
        records = [record for record in dataset.records if (~record.difficult & ~record.crowd).any()]
        records = records[: options.num_images]
        if not records:
            raise DatasetError(f"split {options.split} has no image with an object to learn")
        score = 100 * overfit(records, dataset.class_names, options.steps, options.input_size)
        print(f"mAP on the {len(records)} training images: {score:.1f} (expected: over 90)")
        return 0 if score > 90 else 1

    return run(body)


if __name__ == "__main__":
    sys.exit(main())
