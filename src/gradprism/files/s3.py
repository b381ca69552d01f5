"""Connections to S3 that send every request, with its signature and its session token, to the endpoint alone."""

from functools import cache
from typing import Any


def s3_options() -> dict[str, Any]:
    """Return the options with which s3fs follows no redirect; the user's own settings of fsspec stay."""
    from fsspec.config import conf

    given = conf.get("s3", {}).get("config_kwargs", {})
    return {"config_kwargs": {"http_session_cls": _session_class(), **given}}


@cache
def _session_class() -> type[Any]:
    from aiobotocore.httpsession import AIOHTTPSession

    class SessionWithoutRedirects(AIOHTTPSession):  # type: ignore[misc]
        """aiobotocore's session, which would let aiohttp follow any redirect, to any host.

        Of the region of a bucket botocore learns from the refused answer, and signs the request anew.
        """

        async def _get_session(self, proxy_url: str | None) -> "_Unredirected":
            return _Unredirected(await super()._get_session(proxy_url))

    return SessionWithoutRedirects


class _Unredirected:
    """A session of aiohttp as far as aiobotocore uses one."""

    def __init__(self, session: Any):
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        return self._session.request(method, **options, allow_redirects=False)
