"""Contact sheet: a grid of annotated images."""

import colorsys
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from data.datasets.records import Dataset, Record
from data.errors import ImageError
from data.images.image_io import read_image
from data.text.fonts import load_font


def contact_sheet(
    datasets: Sequence[Dataset], *, count: int = 24, columns: int = 6, cell: int = 256, seed: int = 0
) -> np.ndarray:
    """Draw random images with their boxes and names on one sheet -> (H, W, 3) uint8 RGB.

    Each image is scaled to fit a square of `cell` pixels below a line with its split and name. Difficult and crowd
    objects have thin frames.
    """
    places = [(dataset, record) for dataset in datasets for record in dataset.records]
    chosen = random.Random(seed).sample(places, min(count, len(places)))
    line = 18
    columns = min(columns, max(len(chosen), 1))
    rows = max(-(-len(chosen) // columns), 1)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + line)), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    for index, (dataset, record) in enumerate(chosen):
        left, top = index % columns * cell, index // columns * (cell + line)
        caption = f"{dataset.split}  {record.image_id}" if len(datasets) > 1 else record.image_id
        draw.text(
            (left + 4, top + 2), _shortened(draw, caption, cell - 8), (230, 230, 230), font=load_font(caption, 12)
        )
        try:
            image = _annotated(record, dataset.class_names, cell - 4)
        except ImageError:
            draw.text((left + 4, top + line + 4), "cannot be read", (255, 90, 90), font=load_font("", 14))
            continue
        sheet.paste(image, (left + (cell - image.width) // 2, top + line + (cell - image.height) // 2))
    return np.array(sheet)


def _annotated(record: Record, class_names: Sequence[str], side: int) -> Image.Image:
    """Return the image scaled to fit a square of `side` pixels, with its boxes drawn."""
    image = Image.fromarray(read_image(record.image))
    scale = side / max(image.size)
    image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    draw = ImageDraw.Draw(image)
    largest_first = np.argsort(-record.areas, kind="stable")
    tags = []
    for index in largest_first:
        label = int(record.labels[index])
        hue = label * 0.618034 % 1.0  # the golden ratio spreads neighboring labels over the circle
        red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.6, 1.0))
        color = (red, green, blue)
        x1, y1, x2, y2 = (float(value) * scale for value in record.boxes[index])
        flags = [name for name, flag in (("difficult", record.difficult), ("crowd", record.crowd)) if flag[index]]
        draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=color, width=1 if flags else 2)
        tags.append((x1, y1, color, " ".join([class_names[label], *(f"({flag})" for flag in flags)])))
    for x1, y1, color, text in tags:  # last, so that no frame crosses a name
        font = load_font(text, 11)
        wide, high = draw.textlength(text, font=font) + 4, 13
        x, y = min(max(x1, 0), max(image.width - wide, 0)), min(max(y1, 0), max(image.height - high, 0))
        draw.rectangle((x, y, x + wide, y + high), fill=color)
        draw.text((x + 2, y), text, (0, 0, 0), font=font)
    return image


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """Shorten a name that is too long for its cell at its start, as the end distinguishes it."""
    while len(text) > 4 and draw.textlength(text, font=load_font(text, 12)) > width:
        text = "..." + text[4:]
    return text
