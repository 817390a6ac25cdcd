"""Options that several commands of the detector take."""

import argparse
from typing import TYPE_CHECKING

from data.command_line import fraction, positive_int, word_list
from data.errors import SettingsError
from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD, TILE_OVERLAP

if TYPE_CHECKING:
    from detection.tiling.tiling import Tiling


def add_detection_options(parser: argparse.ArgumentParser) -> None:
    """Add --conf, --iou, --classes (a list) and --max-detections."""
    parser.add_argument(
        "--conf",
        type=fraction,
        metavar="SCORE",
        help="minimum score of a detection, 0 to 1, for all classes (the model's own, by class)",
    )
    parser.add_argument(
        "--iou",
        type=fraction,
        metavar="IOU",
        help=f"IoU threshold of non-maximum suppression within a class (the model's own: {NMS_THRESHOLD} unless its "
        "card states another)",
    )
    parser.add_argument(
        "--classes", type=word_list, metavar="A,B", help="detect only these classes: names or ids, separated by commas"
    )
    parser.add_argument(
        "--max-detections",
        type=positive_int,
        default=DETECTIONS_PER_IMAGE,
        metavar="N",
        help="maximum number of detections per image (%(default)s)",
    )


def add_tiles_options(parser: argparse.ArgumentParser) -> None:
    """Add --tiles and --tile-overlap; `parse_tiles` reads them."""
    parser.add_argument(
        "--tiles",
        default="off",
        metavar="GRID",
        help="detect small objects in tiles of the image, too: auto, 2 (2 × 2 tiles), 2x3 (rows x columns), 2+3 (both "
        "grids) or off (%(default)s)",
    )
    parser.add_argument(
        "--tile-overlap",
        type=float,
        metavar="SHARE",
        help=f"share of a tile's side that it has in common with its neighbor, 0 to 0.5 ({TILE_OVERLAP}; not for auto)",
    )


def parse_tiles(arguments: argparse.Namespace) -> "Tiling | None":
    """Tiling of the options of `add_tiles_options`; `SettingsError` for a wrong one."""
    from detection.tiling.tiling import Tiling

    if arguments.tile_overlap is None:
        return Tiling.parse(arguments.tiles)
    if arguments.tiles in ("auto", "off"):
        raise SettingsError(f"--tile-overlap needs a grid, not --tiles {arguments.tiles}")
    return Tiling.parse(arguments.tiles, arguments.tile_overlap)
