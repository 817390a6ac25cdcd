"""Request bodies: size limit, timeout, memory budget, files of forms."""

import asyncio
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import ClientDisconnected, ServiceError
from serve.web import request_body
from serve.web.request_body import LARGE_FORM, MAX_PARTS, BodyReader, files_in

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


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=3000), st.binary(max_size=100))
def test_a_file_of_a_form_is_unchanged(content: bytes, epilogue: bytes) -> None:
    if BOUNDARY.encode() in content:
        return
    body = part("file", content, '; filename="../../x"') + END
    assert files_in(FORM, body, 1) == [content]
    assert files_in(FORM, b"preamble\r\n" + body + epilogue, 1) == [content]


@pytest.mark.parametrize("window", range(1, 40))
def test_a_delimiter_between_two_searches_is_found(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "SEARCHED_AT_ONCE", window)
    assert files_in(FORM, part("file", b"0123\r\n--b0undar") + END, 1) == [b"0123\r\n--b0undar"]


def test_headers_of_parts() -> None:
    def form(header: bytes) -> bytes:
        return f"--{BOUNDARY} \t\r\n".encode() + header + b"\r\n\r\nabc\r\n" + END

    for header in (
        b"content-type: image/png\r\nCONTENT-DISPOSITION:form-data;name=file",
        b'Content-Disposition: form-data; filename="a;b;c\\"\r\nX: y"; name="file"'.replace(b"\r\nX: y", b""),
        'Content-Disposition: form-data; name="file"; filename*=UTF-8\'\'%E4%BD%A0; filename="你.jpg"'.encode(),
    ):
        assert files_in(FORM, form(header), 1) == [b"abc"]
    assert code(FORM, form(b'Content-Disposition: form-data; name="file"' + b";a=b" * 100)) == "bad_multipart"
    assert code(FORM, form(b"Content-Type: image/jpeg")) == "missing_file"
    assert code(FORM, part("file", b"a").replace(b"0undary\r", b"0undary x\r") + END) == "bad_multipart"


@pytest.mark.parametrize("near", [b"\r\n--a\rx", b"\r\n--", b"\r\n--b0undar_", b"\r\n", b"-"])
def test_beginnings_of_delimiters_cost_no_call_each(near: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser with a call for each of them takes seconds for a body of 10 MB."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    body = part("file", near * 10_000) + END
    sys.setprofile(count)
    try:
        files_in(FORM, body, 1)
    finally:
        sys.setprofile(None)
    assert calls < 500


def test_a_form_may_have_several_files() -> None:
    body = part("file", b"1") + part("file", b"") + part("file", b"3") + END
    assert files_in(FORM, body, 3) == [b"1", b"", b"3"]
    assert code(FORM, body, 2) == "too_many_files"


def test_a_form_without_a_file_is_refused() -> None:
    assert code(FORM, part("other", b"x") + END) == "missing_file"
    assert code(FORM, END) == "missing_file"
    assert code(FORM, part("file", b"") + END) == "empty"


def test_another_field_is_an_error() -> None:
    body = part("conf", b"0.4") + part("file", b"abc") + END
    with pytest.raises(ServiceError, match=r"'conf'.*query") as caught:
        files_in(FORM, body, 1)
    assert caught.value.code == "invalid_parameter"
    assert len(str(caught.value.message)) < 150
    assert code(FORM, part("x" * 5000, b"") + part("file", b"abc") + END) == "invalid_parameter"


def test_malformed_forms_are_refused() -> None:
    whole = part("file", b"abc") + END
    assert code("multipart/form-data", whole) == "bad_multipart"
    assert code("multipart/form-data; boundary=" + "x" * 1000, whole) == "bad_multipart"
    assert code("multipart/form-data; boundary=other", whole) == "bad_multipart"
    assert code(FORM, whole[:-6]) == "bad_multipart"
    assert code(FORM, b"") == "bad_multipart"
    assert code(FORM + ";a=b" * 100, whole) == "bad_multipart"
    assert (
        code(FORM, part("file", b"x").replace(b"Disposition", b"Disposition" + b"x" * 10_000) + END) == "bad_multipart"
    )


def test_a_form_with_too_many_parts_is_refused() -> None:
    assert files_in(FORM, part("file", b"1") * MAX_PARTS + END, MAX_PARTS) == [b"1"] * MAX_PARTS
    assert code(FORM, part("file", b"1") * (MAX_PARTS + 1) + END, 1000) == "too_many_parts"
    assert code(FORM, part("x", b"") * 1000 + END) == "too_many_parts"


@given(st.binary(max_size=300))
def test_arbitrary_forms_raise_service_errors_only(body: bytes) -> None:
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
            size = len(body)
            assert reader.buffered == size
            (file,) = await reader.files("image/jpeg", body, 1) if body else [b""]
            assert reader.buffered == size and not body
            return file

    try:
        return asyncio.run(read())
    finally:
        assert reader.buffered == 0


def chunk(size: int, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_in_chunks_is_joined() -> None:
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
def test_large_slow_and_excess_bodies_are_refused(messages: list, options: dict, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        reading(*messages, **options)
    assert caught.value.code == code


@pytest.mark.parametrize(("parts", "size", "elsewhere"), [(1, 10, False), (1, LARGE_FORM, True), (8, 10, True)])
def test_a_form_that_takes_long_is_parsed_in_the_executor(parts: int, size: int, elsewhere: bool) -> None:
    """Also a small one of many headers: the event loop serves everybody meanwhile."""
    form = part("file", b"x" * size) * parts + END

    async def parse(executor: ThreadPoolExecutor) -> list[bytes]:
        return await BodyReader(10**7, 10**7, 1, executor).files(FORM, bytearray(form), parts)

    with ThreadPoolExecutor(1) as executor, mock.patch.object(executor, "submit", wraps=executor.submit) as submit:
        assert asyncio.run(parse(executor)) == [b"x" * size] * parts
    assert submit.called == elsewhere


@pytest.mark.parametrize("form", [False, True])
def test_a_body_is_in_memory_once(form: bool) -> None:
    """The budget of all bodies is that of the process."""
    piece = bytes(65_536)
    count = 120
    size = count * len(piece)
    reader = BodyReader(2 * size, 2 * size, timeout=10)
    head, end = (part("file", b"")[:-2], b"\r\n" + END) if form else (b"", b"")
    messages = [{"type": "http.request", "body": one, "more_body": True} for one in (head, *[piece] * count)]
    messages.append({"type": "http.request", "body": end, "more_body": False})

    async def receive() -> Any:
        return messages.pop(0)

    async def read() -> int:
        async with reader.read(receive, None) as body:
            files = await reader.files(FORM if form else "", body, 1)
            assert [len(file) for file in files] == [size]
            return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        assert size <= asyncio.run(read()) < 1.1 * size
    finally:
        tracemalloc.stop()


def test_a_disconnect_within_a_body_is_raised() -> None:
    with pytest.raises(ClientDisconnected):
        reading(chunk(10), {"type": "http.disconnect"})


@pytest.mark.parametrize("length", ["-1", "", "abc", "١٠", "1e3"])
def test_a_malformed_content_length_is_ignored(length: str) -> None:
    assert reading(chunk(5, more=False), length=length) == b"x" * 5
