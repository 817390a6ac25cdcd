"""Hugging Face Hub: download a model from `hf://owner/name[@revision]`, and upload one."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from data.errors import WeightsError
from weights.card import CARD_NAME, Card
from weights.export_manifest import EXPORT_NAME, SUFFIXES

SCHEME = "hf://"
#: Files of a model; others of a repository are not downloaded. The .bin is the second file of OpenVINO's format.
_PATTERNS = [CARD_NAME, "*.safetensors", f"*/{CARD_NAME}", f"*/{EXPORT_NAME}", "*/*.bin"]
_PATTERNS += [f"*/*{suffix}" for suffix in SUFFIXES.values()]
_TASKS = {"detection": "object-detection", "classification": "image-classification"}


def is_hub_address(name: str) -> bool:
    """Whether a model's name is an address on the Hub."""
    return name.startswith(SCHEME)


def download(address: str) -> Path:
    """Download a model to the Hub's cache, or find it there, and return its folder.

    `HF_HUB_OFFLINE=1` asks the cache only. The card and the files are verified by `weights.store` as any model's.

    Raises:
        WeightsError: a malformed address, a repository that does not exist or is no model of this project, no network.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    repository, revision = _parse(address)
    with _one_line_errors(address) as hub:
        hub.hf_hub_download(repository, CARD_NAME, revision=revision)  # its absence is an error before the download
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=_PATTERNS))


def upload(folder: Path, address: str, *, private: bool = False) -> str:
    """Upload a model's folder to a repository, which is created if it does not exist; return the page's address.

    The user's own login (`hf auth login`, or HF_TOKEN) is used. Errors as in `download`.
    """
    repository, revision = _parse(address)
    card = Card.load(folder)
    with _one_line_errors(address) as hub:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        operations = [
            hub.CommitOperationAdd(path.relative_to(folder).as_posix(), str(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        operations.append(hub.CommitOperationAdd("README.md", _readme(card, repository).encode()))
        api.create_commit(repository, operations, commit_message=f"Add {card.name}", revision=revision)
    return f"{api.endpoint}/{repository}"


def _parse(address: str) -> tuple[str, str | None]:
    """Repository and revision of an address."""
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address, re.ASCII)
    if match is None:
        raise WeightsError(
            f"{address!r} is no address of a model, expected hf://owner/name or hf://owner/name@revision"
        )
    return match[1], match[2]


def _readme(card: Card, repository: str) -> str:
    """Model page of the Hub, with its metadata."""
    license_line = f"license: {card.licence.lower()}\n" if re.fullmatch(r"[\w.-]+", card.licence) else ""
    scores = "\n".join(f"- {score['metric']} {score['value']} on {score['split']}" for score in card.scores)
    return (
        f"---\nlibrary_name: pelee\npipeline_tag: {_TASKS[card.task]}\n{license_line}---\n\n# {card.name}\n\n"
        f"A model of Pelee for {card.task} of {len(card.class_names)} classes: {', '.join(card.class_names[:20])}"
        f"{', ...' if len(card.class_names) > 20 else ''}.\n\n"
        f"`--weights {SCHEME}{repository}` loads it in every command of Pelee.\n\n{scores}\n"
    )


@contextmanager
def _one_line_errors(address: str) -> Iterator[ModuleType]:
    """Yield `huggingface_hub`, without telemetry; turn its errors into one line."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import huggingface_hub
    from httpx import HTTPError
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield huggingface_hub
    except RevisionNotFoundError:
        raise WeightsError(f"{address}: the repository has no such revision") from None
    except RepositoryNotFoundError:
        raise WeightsError(f"{address}: no such repository, or it is private and you are not logged in") from None
    except LocalEntryNotFoundError:
        raise WeightsError(f"{address}: not in the Hub's cache, and the Hub cannot be reached") from None
    except EntryNotFoundError:
        raise WeightsError(f"{address}: holds no {CARD_NAME}, expected a repository of `pelee-models push`") from None
    except (HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{address}: {reason}") from None
