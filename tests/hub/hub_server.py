"""A small hub on this machine, for the true clients of Hugging Face: repositories, revisions, tokens, and faults."""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_token-that-no-file-may-hold"
_CHUNK = 1 << 16
_MANY_REQUESTS = b'{"error": "too many requests"}'


@dataclass
class Repository:
    """The files of one repository by revision (branch or commit), as bytes."""

    kind: str  # models or datasets
    name: str
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main", without: Collection[str] = ()) -> str:
        """Put files on a branch and take others from it, and return the name of the commit."""
        kept = {name: data for name, data in self.revisions.get(branch, {}).items() if name not in without}
        known = {**kept, **files}
        digest = hashlib.sha1(
            repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in known.items())).encode()
        )
        sha = digest.hexdigest()
        self.revisions[branch] = self.revisions[sha] = known
        return sha

    def sha(self, revision: str) -> str:
        """Return the commit of a revision."""
        return next(
            name for name, files in self.revisions.items() if len(name) == 40 and files == self.revisions[revision]
        )


class HubServer:
    """The hub: give its `url` to clients as HF_ENDPOINT. `asked` counts requests by path, `sent` bytes by path."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.busy = 0
        """Number of requests that are answered with 429 before any is served."""
        self.broken: dict[str, int] = {}
        """Files of which the connection breaks once, after so many bytes."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, with_body=False)

            def do_POST(self) -> None:
                hub._answer(self, with_body=True)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "HubServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, kind: str, name: str, files: dict[str, bytes] | Path, **more: Any) -> Repository:
        """Add a repository with files, or with those of a folder, on its branch main."""
        if isinstance(files, Path):
            files = {str(p.relative_to(files)): p.read_bytes() for p in sorted(files.rglob("*")) if p.is_file()}
        made = self.repositories[kind, name] = Repository(kind, name, **more)
        made.commit(files)
        return made

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return what a client of this hub is started with."""
        quiet = dict.fromkeys(("XET", "TELEMETRY", "PROGRESS_BARS"), "1")
        settings = {f"HF_HUB_DISABLE_{name}": value for name, value in quiet.items()}
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), **settings, **more}

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(request.path).path)
        self.asked[path] += 1
        if self.busy > 0:
            self.busy -= 1
            self._send(request, 429, _MANY_REQUESTS, with_body, {"Retry-After": "0"})
            return
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/(.+))?)?", path):
            self._api(request, *found.groups(), body, with_body)
        elif found := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(request, found[1] or "models", *found.groups()[1:], with_body)
        elif path == "/api/repos/create":
            self._create(request, json.loads(body), with_body)
        elif path == "/api/validate-yaml":
            self._json(request, {"errors": [], "warnings": []}, with_body)
        elif path == "/api/whoami-v2":
            ok = self._token(request) == TOKEN
            self._json(
                request,
                {"name": "me", "type": "user", "auth": {}} if ok else {"error": "no"},
                with_body,
                200 if ok else 401,
            )
        else:
            self._send(request, 404, b"{}", with_body)

    def _found(self, request: BaseHTTPRequestHandler, kind: str, name: str, with_body: bool) -> Repository | None:
        """Return a repository that the asker may see; else answer why not."""
        found = self.repositories.get((kind, name))
        has_token = self._token(request) == TOKEN
        if found is None or (found.private and not has_token):
            self._send(request, 401, b'{"error": "Repository not found"}', with_body, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def _api(
        self, request: BaseHTTPRequestHandler, kind: str, name: str, what: str | None, rest: str | None, body: bytes,
        with_body: bool,
    ) -> None:  # fmt: skip
        found = self._found(request, kind, name, with_body)
        if found is None:
            return
        if what in ("preupload", "commit"):
            self._upload(request, found, what, body, with_body)
            return
        revision = (rest or "main").split("/")[0] if what in ("revision", "tree", "paths-info") else "main"
        if revision not in found.revisions:
            self._send(request, 404, b"{}", with_body, {"X-Error-Code": "RevisionNotFound"})
            return
        files = found.revisions[revision]
        if what in (None, "revision"):
            self._json(request, {
                "id": name, "sha": found.sha(revision), "private": found.private, "gated": found.gated, "tags": [],
                "downloads": 0, "likes": 0, "siblings": [{"rfilename": each} for each in files],
                "lastModified": "2026-01-01T00:00:00.000Z",
            }, with_body)  # fmt: skip
        elif what == "tree":
            below = "/".join((rest or "").split("/")[1:])
            recursive = parse_qs(urlsplit(request.path).query).get("recursive", ["false"])[0].lower() == "true"
            self._json(request, _tree(files, below, recursive=recursive), with_body)
        elif what == "paths-info":
            asked = parse_qs(body.decode()).get("paths") if b"paths=" in body else json.loads(body)["paths"]
            everything = _tree(files, "", recursive=True)
            self._json(request, [entry for entry in everything if entry["path"] in (asked or [])], with_body)
        elif what == "refs":
            branches = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": found.sha(each)}
                        for each in found.revisions if len(each) != 40]  # fmt: skip
            self._json(request, {"branches": branches, "tags": [], "converts": []}, with_body)
        else:
            self._send(request, 404, b"{}", with_body)

    def _file(
        self, request: BaseHTTPRequestHandler, kind: str, name: str, revision: str, path: str, with_body: bool
    ) -> None:
        found = self._found(request, kind, name, with_body)
        if found is None:
            return
        if found.gated and self._token(request) != TOKEN:
            message = f"Access to {kind[:-1]} {name} is restricted. You must have access to it and be authenticated."
            self._send(request, 403, b"{}", with_body, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return
        if revision not in found.revisions:
            self._send(request, 404, b"", with_body, {"X-Error-Code": "RevisionNotFound"})
            return
        content = found.revisions[revision].get(path)
        commit = {"X-Repo-Commit": found.sha(revision)}
        if content is None:
            self._send(request, 404, b"", with_body, {"X-Error-Code": "EntryNotFound", **commit})
            return
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes", **commit}
        status, part = 200, content
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or ""):
            first, last = int(span[1]), int(span[2]) if span[2] else len(content) - 1
            part = content[first : last + 1]
            status = 206
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        if with_body and path in self.broken and len(part) > self.broken[path]:
            cut = self.broken.pop(path)
            self._head(request, status, len(part), headers)
            request.wfile.write(part[:cut])
            self.sent[path] += cut
            request.close_connection = True
            request.connection.close()
            return
        self._head(request, status, len(part), headers)
        with suppress(OSError):  # a client that has read enough
            for first in range(0, len(part) if with_body else 0, _CHUNK):
                request.wfile.write(part[first : first + _CHUNK])
                self.sent[path] += len(part[first : first + _CHUNK])

    def _create(self, request: BaseHTTPRequestHandler, asked: dict[str, Any], with_body: bool) -> None:
        if self._token(request) != TOKEN:
            self._json(request, {"error": "Unauthorized"}, with_body, 401)
            return
        kind, owner = f"{asked.get('type', 'model')}s", asked.get("organization") or "me"
        name = f"{owner}/{asked['name']}"
        if (kind, name) in self.repositories:
            self._json(request, {"error": "exists", "url": f"{self.url}/{kind}/{name}"}, with_body, 409)
            return
        made = self.repositories[kind, name] = Repository(
            kind, name, private="private" in (asked.get("visibility"), asked.get("private") and "private")
        )
        made.commit({".gitattributes": b""})
        self._json(
            request, {"url": f"{self.url}/{'' if kind == 'models' else kind + '/'}{name}", "name": name}, with_body
        )

    def _upload(
        self, request: BaseHTTPRequestHandler, found: Repository, what: str, body: bytes, with_body: bool
    ) -> None:
        if self._token(request) != TOKEN:
            self._json(request, {"error": "Unauthorized"}, with_body, 401)
            return
        if what == "preupload":
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for each in json.loads(body)["files"]]  # fmt: skip
            self._json(request, {"files": files}, with_body)
            return
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        given = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        sha = found.commit(given, without=[line["value"]["path"] for line in lines if line["key"] == "deletedFile"])
        url = f"{self.url}/{found.kind}/{found.name}/commit/{sha}"
        self._json(request, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""}, with_body)

    def _token(self, request: BaseHTTPRequestHandler) -> str:
        return (request.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _json(self, request: BaseHTTPRequestHandler, value: Any, with_body: bool, status: int = 200) -> None:
        self._send(request, status, json.dumps(value).encode(), with_body, {"Content-Type": "application/json"})

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, with_body: bool,
        headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._head(request, status, len(body), headers or {})
        if with_body:
            request.wfile.write(body)

    def _head(self, request: BaseHTTPRequestHandler, status: int, length: int, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            request.send_header(name, value)
        request.end_headers()


def _tree(files: dict[str, bytes], below: str, *, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{below}/" if below else ""
    found: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        if not name.startswith(prefix):
            continue
        inner = name.removeprefix(prefix)
        for depth, part in enumerate(inner.split("/")[:-1]):
            folder = prefix + "/".join([*inner.split("/")[:depth], part])
            if recursive or depth == 0:
                found[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        if recursive or "/" not in inner:
            oid = hashlib.sha1(content).hexdigest()
            found[name] = {"type": "file", "path": name, "oid": oid, "size": len(content)}
    return list(found.values())
