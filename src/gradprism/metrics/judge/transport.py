"""Exchange requests and replies over HTTP: the headers that leave, the redirects followed, the bytes read."""

from contextlib import aclosing
from typing import Any

from gradprism.core.optional import need
from gradprism.metrics.judge.faults import FaultError

MOST_BYTES = 8 * 2**20
"""The largest body of an answer that is read, after decompression."""

_MOST_BYTES_OF_ERROR = 2**16
_MOST_REDIRECTS = 3
_HEADERS = {"host", "accept", "authorization", "connection", "content-length", "content-type", "user-agent"}
_REPLY_HEADERS = {b"retry-after", b"retry-after-ms"}
_LONGEST_ADDRESS = 200  # characters


def make_client(key: str, timeout: float, *, is_openai: bool) -> Any:
    """Make the HTTP client below `openai.AsyncOpenAI`. Its replies are read already, and of limited size.

    To other servers than OpenAI's own only the headers of a plain request leave, with this key: the library also sends
    what OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS hold, and describes this machine. A redirect is
    followed within the same origin, where it repeats the request (307, 308); any other raises a `FaultError`.
    """

    class BoundedClient(need("openai", "judge").DefaultAsyncHttpxClient):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            sent = request if is_openai else _without_more_headers(request, key)
            for _ in range(_MOST_REDIRECTS + 1):
                reply = await super().send(sent, **{**options, "stream": True, "follow_redirects": False})
                try:
                    onward = _repeated_elsewhere(reply)
                    if onward is None:
                        return _plain(reply, await _content(reply), request)
                finally:
                    await reply.aclose()
                sent = onward
            raise FaultError("job", f"it redirects more than {_MOST_REDIRECTS} times", reply.status_code)

    return BoundedClient(timeout=timeout)


def _without_more_headers(request: Any, key: str) -> Any:
    headers = {name: value for name, value in request.headers.items() if name in _HEADERS}
    headers |= {"authorization": f"Bearer {key}", "accept-encoding": "identity"}
    return type(request)(
        request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
    )


def _repeated_elsewhere(reply: Any) -> Any:
    """Return the request that a redirect asks for; None for other replies. Raises `FaultError` where it is refused."""
    if not reply.has_redirect_location:
        return None
    here, onward = reply.request.url, reply.next_request
    if onward is None:
        raise FaultError("job", "it redirects to what is no address", reply.status_code)
    there = onward.url
    address = f"{there.scheme}://{there.netloc.decode('ascii', 'replace')}{there.path}"[:_LONGEST_ADDRESS]
    if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
        said = f"it redirects to {address}, another server, to which neither the key nor the question is sent"
        raise FaultError("job", said, reply.status_code)
    if onward.method != reply.request.method:
        said = f"it redirects to {address} by {onward.method}, which leaves the question out"
        raise FaultError("job", said, reply.status_code)
    return onward


async def _content(reply: Any) -> bytes:
    """Read a body up to the limit. Raises `FaultError` for a longer answer; a longer message of an error is cut."""
    limit = MOST_BYTES if reply.is_success else _MOST_BYTES_OF_ERROR
    content = bytearray()
    async with aclosing(reply.aiter_bytes()) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > limit:
                break
    if len(content) > limit and reply.is_success:
        raise FaultError("row", f"the endpoint's answer has more than {limit // 2**20} MB, the most that is read")
    return bytes(content[:limit])


def _plain(reply: Any, content: bytes, request: Any) -> Any:
    """Return a reply to `request` with this content alone, so that no header of the server decides how it is read."""
    headers = [(name, value) for name, value in reply.headers.raw if name.lower() in _REPLY_HEADERS]
    return type(reply)(reply.status_code, headers=headers, content=content, request=request)
