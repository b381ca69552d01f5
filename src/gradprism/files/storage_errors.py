"""Refusals of storage services as one error in plain words, instead of their clients' tracebacks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from gradprism.core.errors import GradPrismError

_CLIENTS = frozenset(
    ("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3")
)
_NO_CREDENTIALS = (
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError",
    "CredentialRetrievalError", "CredentialUnavailableError", "ClientAuthenticationError",
)  # fmt: skip
_DENIED = (
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "RequestTimeTooSkewed", "AuthorizationFailure", "401", "403",
)  # fmt: skip
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_REDIRECTED = ("PermanentRedirect", "TemporaryRedirect", "301", "302", "303", "307", "308")
_UNREACHABLE = (
    "EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError", "ClientConnectorDNSError",
    "ServiceRequestError", "SSLError", "ProxyConnectionError",
)  # fmt: skip
_CONFLICT = ("PreconditionFailed", "ConditionalRequestConflict", "409", "412", "BlobAlreadyExists")
_NOT_FOUND = ("404", "NoSuchKey", "NoSuchVersion", "BlobNotFound", "ResourceNotFoundError")
_SECRETS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#'\"]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?")
_INVALID = ("ParamValidationError", "InvalidBucketName", "InvalidURL")


class StorageError(GradPrismError):
    """A storage service that cannot be used. Where the error is `transient`, a retry may succeed a moment later."""

    def __init__(self, message: str, *, transient: bool = False):
        """Keep the `message` that a person reads."""
        super().__init__(message)
        self.transient = transient


class ConflictError(Exception):
    """A conditional write that failed: the object exists already, or has changed meanwhile."""


@contextmanager
def plain_errors(url: str) -> Iterator[None]:
    """Raise what the clients of storage services raise as `StorageError`, with plain words.

    An object that is not there stays a `FileNotFoundError`, a condition that does not hold becomes a `ConflictError`.
    """
    try:
        yield
    except (GradPrismError, ConflictError):
        raise
    except Exception as error:
        if not _is_of_storage(error):
            raise
        if isinstance(error.__cause__, GradPrismError):  # fsspec calls whatever fails a file that is not there
            raise error.__cause__ from None
        names = _error_names(error)
        if isinstance(error, FileExistsError) or names & {*_CONFLICT}:
            raise ConflictError(url) from error
        if isinstance(error, FileNotFoundError) and (not _is_of_client(error.__cause__) or names & {*_NOT_FOUND}):
            raise FileNotFoundError(url) from error
        raise _storage_error(url, error, names) from error


def without_secrets(text: str) -> str:
    """Return a text without the user names, passwords and queries of the URLs in it: a signed URL is a password."""
    return _SECRETS.sub(r"\1\2", text)


def _is_of_storage(error: Exception) -> bool:
    """Return whether an error comes from a storage service or its client, and is no mistake in a program."""
    known = isinstance(error, OSError) or _is_of_client(error) or _is_of_client(error.__cause__)
    return known or _is_unreadable_answer(error)


def _is_unreadable_answer(error: Exception) -> bool:
    """Return whether a client failed on an answer that lacks what it takes for granted, such as a length."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
    return isinstance(error, LookupError | ValueError | TypeError | AttributeError) and _is_client(module)


def _is_of_client(error: BaseException | None) -> bool:
    return _is_client(type(error).__module__)


def _is_client(module: str) -> bool:
    return module.partition(".")[0] in _CLIENTS


def _error_names(error: Exception) -> set[str]:
    """Return the names of the error's classes, and the codes that the service gave."""
    names = set[str]()
    for each in (error, *([error.__cause__] if error.__cause__ else [])):
        names |= {kind.__name__ for kind in type(each).__mro__}
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            names.add(str(response.get("Error", {}).get("Code")))
        names |= {str(vars(each).get(name)) for name in ("code", "error_code", "status", "status_code")}
    return names


def _message_of(error: BaseException) -> str:
    """Return the words of the service, else of its client: an error that is a mere name has a cause that says more."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Message"):
            return str(response["Error"]["Message"])
        if status := getattr(each, "status", None):  # of a web server: its URL may be signed, and another than given
            return f"{status} {getattr(each, 'message', '')}".strip()
    return str(error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error)


def _storage_error(url: str, error: Exception, names: set[str]) -> StorageError:
    if _is_unreadable_answer(error):
        return StorageError(
            f"{url}: the storage gave an answer that cannot be read ({error!r}).\n"
            "Check that the endpoint is the service itself (S3: AWS_ENDPOINT_URL), and repeat the command.",
            transient=True,
        )
    words = shorten(without_secrets(_message_of(error)), 200, placeholder=" ...") or type(error).__name__
    if url.partition("://")[0] in ("http", "https"):
        return _web_error(url, words, names)
    for kinds, problem, advice in (
        (_NO_CREDENTIALS, "no usable credentials were found", "Give them in the environment or the configuration of "
         "the service's own tools (S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)."),
        (_NO_BUCKET, "there is no such bucket", "Create it, or check its name and the endpoint (AWS_ENDPOINT_URL)."),
        (_REDIRECTED, "the storage redirects to another address, which is not followed",
         "Check the region of the bucket (AWS_DEFAULT_REGION) and the endpoint (AWS_ENDPOINT_URL)."),
        (_UNREACHABLE, "the storage cannot be reached", "Check the endpoint (S3: AWS_ENDPOINT_URL) and the network."),
        (_INVALID, "the name is refused", "Expected a bucket and a name in it, such as s3://bucket/run."),
        ((*_DENIED, "PermissionError"), "access was denied", "Check the credentials, and what they may do there."),
    ):  # fmt: skip
        if names & {*kinds}:
            return StorageError(f"{url}: {problem} ({words}).\n{advice}", transient=kinds is _UNREACHABLE)
    return StorageError(
        f"{url}: the storage failed, after retries too ({words}).\nRepeat the command a little later.",
        transient=True,
    )


def _web_error(url: str, words: str, names: set[str]) -> StorageError:
    problem, advice = "the web server failed", "Repeat the command a little later, or download the file."
    if names & {*_UNREACHABLE}:
        problem, advice = "the web server cannot be reached", "Check the address and the network."
    elif names & {*_DENIED}:
        problem, advice = "access was denied", "No credentials are sent to web servers: download the file."
    elif "TooManyRedirects" in names:
        problem, words, advice = "the web server cannot be read", "too many redirects", "Check the address."
    return StorageError(f"{url}: {problem} ({words}).\n{advice}", transient=True)
