"""Request bodies: size limit, timeout, memory budget, files of forms."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import ClientDisconnected, ServiceError
from serve.web.request_body import MAX_PARTS, BodyReader, files_in

BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, extra: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def code(content_type: str, body: bytes, max_files: int = 1) -> str:
    with pytest.raises(ServiceError) as caught:
        files_in(content_type, body, max_files)
    return caught.value.code


def test_a_body_that_is_no_form_is_the_file() -> None:
    for content_type in ("", "image/jpeg", "application/x-www-form-urlencoded", "text/html"):
        assert files_in(content_type, b"abc", 1) == [b"abc"]
    assert code("image/png", b"") == "empty"


@given(st.binary(min_size=1, max_size=3000), st.binary(max_size=100))
def test_a_file_comes_out_of_a_form_as_it_went_in(content: bytes, other: bytes) -> None:
    if BOUNDARY.encode() in content + other:
        return
    body = part("note", other) + part("file", content, '; filename="../../x"') + END
    assert files_in(FORM, body, 1) == [content]


def test_several_files() -> None:
    body = part("file", b"1") + part("file", b"") + part("file", b"3") + END
    assert files_in(FORM, body, 3) == [b"1", b"", b"3"]
    assert code(FORM, body, 2) == "too_many_files"


def test_forms_without_a_file() -> None:
    assert code(FORM, part("other", b"x") + END) == "missing_file"
    assert code(FORM, END) == "missing_file"
    assert code(FORM, part("file", b"") + END) == "empty"


def test_forms_that_are_none() -> None:
    whole = part("file", b"abc") + END
    assert code("multipart/form-data", whole) == "bad_multipart"
    assert code("multipart/form-data; boundary=" + "x" * 1000, whole) == "bad_multipart"
    assert code("multipart/form-data; boundary=other", whole) == "bad_multipart"
    assert code(FORM, whole[:-6]) == "bad_multipart"
    assert code(FORM, b"") == "bad_multipart"
    assert (
        code(FORM, part("file", b"x").replace(b"Disposition", b"Disposition" + b"x" * 10_000) + END) == "bad_multipart"
    )


def test_many_parts() -> None:
    assert files_in(FORM, part("x", b"") * (MAX_PARTS - 1) + part("file", b"1") + END, 1) == [b"1"]
    assert code(FORM, part("x", b"") * 1000 + END) == "too_many_parts"


@given(st.binary(max_size=300))
def test_no_form_makes_it_fail(body: bytes) -> None:
    for text in (body, f"--{BOUNDARY}\r\n".encode() + body):
        try:
            files_in(FORM, text, 1)
        except ServiceError as error:
            assert error.status in (400, 422)


def reading(*messages: dict[str, Any] | float, cap: int = 100, budget: int = 1000, length: str | None = None) -> bytes:
    """Read from a client that sends so; a number is a pause in seconds."""
    reader = BodyReader(cap, budget, timeout=0.3)
    pending = list(messages)

    async def receive() -> Any:
        message = pending.pop(0)
        if isinstance(message, float):
            await asyncio.sleep(message)
            message = pending.pop(0)
        return message

    async def read() -> bytes:
        async with reader.read(receive, length) as body:
            assert reader.buffered == len(body)
            return body

    try:
        return asyncio.run(read())
    finally:
        assert reader.buffered == 0


def chunk(size: int, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_in_pieces() -> None:
    assert reading(chunk(60), chunk(0), chunk(40, more=False)) == b"x" * 100
    assert reading({"type": "http.request"}) == b""


@pytest.mark.parametrize(
    ("messages", "options", "code"),
    [
        ([], {"length": "101"}, "body_too_large"),  # nothing is read
        ([chunk(60), chunk(41)], {}, "body_too_large"),
        ([chunk(60), chunk(41)], {"length": "60"}, "body_too_large"),
        ([chunk(60), chunk(40, more=False)], {"budget": 99}, "busy"),
        ([chunk(1), 5.0, chunk(1, more=False)], {}, "body_timeout"),
    ],
)
def test_bodies_that_are_refused(messages: list, options: dict, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        reading(*messages, **options)
    assert caught.value.code == code


def test_a_client_that_leaves() -> None:
    with pytest.raises(ClientDisconnected):
        reading(chunk(10), {"type": "http.disconnect"})


@pytest.mark.parametrize("length", ["-1", "", "abc", "١٠", "1e3"])
def test_a_length_that_is_none_is_not_believed(length: str) -> None:
    assert reading(chunk(5, more=False), length=length) == b"x" * 5
