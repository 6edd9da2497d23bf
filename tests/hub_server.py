# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A Hugging Face Hub on the loopback interface, in memory: enough of its API to create repositories, commit, and load.

Regular files come inside the commit, `*.safetensors` as LFS objects (batch request, PUT, then a pointer in the commit).
Each commit is a snapshot of all files. Whoever has a token may read and write everything, but for `READ_ONLY_TOKEN`,
and for repositories that are gated. Downloads can be made to break off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


READ_ONLY_TOKEN = "hf_readonly"


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    # newest last: commit id, summary, files by path
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)
    branches: dict[str, list[tuple[str, str, dict[str, bytes]]]] = field(default_factory=dict)  # but for main

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][2]


class Hub:
    """What the server holds, for tests to look at."""

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.lfs_objects: dict[str, bytes] = {}
        self.requests: list[str] = []  # method and path, and the range that is asked for
        self.datasets: set[str] = set()
        self.cuts: dict[str, list[int]] = {}  # by repository/path: after how many bytes its next downloads break off
        self.lock = threading.Lock()

    def add_directory(self, repo: str, directory: Path) -> None:
        """A repository with one commit, of all files of a directory."""
        self.repositories[repo] = Repository()
        files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
        self.add_commit(repo, "initial commit", {name: path.read_bytes() for name, path in files.items()})

    def add_commit(self, repo: str, summary: str, changes: dict[str, bytes], branch: str = "main") -> str:
        repository = self.repositories[repo]
        commits = repository.commits if branch == "main" else repository.branches[branch]
        commit = hashlib.sha1(f"{repo} {branch} {len(commits)}".encode()).hexdigest()
        commits.append((commit, summary, {**(commits[-1][2] if commits else {}), **changes}))
        return commit


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serves until the block ends; `hub.url` is what HF_ENDPOINT has to be."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _oid(content: bytes, path: str) -> str:
    """What the Hub gives as ETag: SHA-256 of an LFS object, else git's hash of the blob."""
    if path.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def log_message(self, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            wanted = self.headers.get("Range")
            self.hub.requests.append(f"{self.command} {path}" + (f" {wanted}" if wanted else ""))
            self._route(path, body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, path: str, body: bytes) -> None:
        hub, parts = self.hub, path.strip("/").split("/")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if parts[0] == "api" and self.command == "POST" and not token:
            return self._error(401, "", "Invalid username or password.")
        if parts[0] == "api" and self.command == "POST" and token == READ_ONLY_TOKEN:
            return self._error(403, "", "Forbidden: you must use a write token to upload to a repository.")
        if parts[:2] == ["api", "datasets"]:
            name = "/".join(parts[2:4])
            return self._json({"id": name}) if name in hub.datasets else self._error(404, "RepoNotFound", "Not found.")
        if parts[:2] == ["api", "spaces"]:
            return self._error(404, "RepoNotFound", "Not found.")
        if path == "/api/repos/create":
            request = json.loads(body)
            name = "/".join(filter(None, [request.get("organization"), request["name"]]))
            if name in hub.repositories:
                return self._json({"error": "You already created this model repo", "url": f"{hub.url}/{name}"}, 409)
            hub.repositories[name] = Repository(
                private=request.get("visibility") == "private" or bool(request.get("private"))
            )
            hub.add_commit(name, "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self._json({"url": f"{hub.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if parts[0] == "lfs":
            if hashlib.sha256(body).hexdigest() != parts[1]:
                return self._json({"error": "content does not match its hash"}, 400)
            hub.lfs_objects[parts[1]] = body
            return self._json({})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}", "header": {}}}}
                for item in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})

        if parts[:2] == ["api", "models"]:
            name, action, rest = "/".join(parts[2:4]), (parts[4:] or [""])[0], parts[5:]
        else:
            name, action, rest = "/".join(parts[:2]), (parts[2:] or [""])[0], parts[3:]
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not token):
            # an outsider is not told whether a repository is private or missing
            return self._error(401, "RepoNotFound", "Invalid username or password.")
        commit, _, files = repository.commits[-1]
        if action == "branch":
            repository.branches.setdefault(rest[0], list(repository.commits))
            return self._json({})
        if rest and rest[0] != "main":
            branch = repository.branches.get(rest[0], [])[-1:]
            every = [*repository.commits, *(entry for entries in repository.branches.values() for entry in entries)]
            found = branch or [entry for entry in every if entry[0] == rest[0]]
            if not found:
                return self._error(404, "RevisionNotFound", f"Invalid rev id: {rest[0]}")
            commit, _, files = found[0]
        if action == "preupload":
            wanted = json.loads(body)["files"]
            modes = {item["path"]: "lfs" if item["path"].endswith(".safetensors") else "regular" for item in wanted}
            answer = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            return self._json({"files": answer})
        if action == "commit":
            return self._commit(name, rest[0], body)
        if action in ("", "revision"):
            siblings = [{"rfilename": path} for path in sorted(files)]
            info = {"_id": name, "id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []}
            return self._json({**info, "private": repository.private, "downloads": 0, "likes": 0})
        if action == "tree":
            return self._json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": _oid(content, path)}
                    for path, content in sorted(files.items())
                ]
            )
        if action == "resolve":
            if repository.gated:
                return self._error(403, "GatedRepo", "Access to this model is restricted.")
            return self._file(name, "/".join(rest[1:]), commit, files)
        return self._error(404, "NotFound", f"this server knows no {self.command} {path}")

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        changes: dict[str, bytes] = {}
        summary = ""
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                summary = value["summary"]
            elif entry["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changes[value["path"]] = self.hub.lfs_objects[value["oid"]]
            else:
                return self._json({"error": f"this server knows no {entry['key']}"}, 400)
        commit = self.hub.add_commit(name, summary, changes, branch)
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"}
        return self._json({**answer, "hookOutput": ""})

    def _file(self, name: str, path: str, commit: str, files: dict[str, bytes]) -> None:
        headers = {"X-Repo-Commit": commit}
        if path not in files:
            return self._error(404, "EntryNotFound", f"{path} does not exist on this revision", headers)
        content, etag = files[path], _oid(files[path], path)
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if path.endswith(".safetensors"):
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        status, kind = 200, "application/octet-stream"
        wanted = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if wanted:
            status, headers["Content-Range"] = 206, f"bytes {wanted}-{len(content) - 1}/{len(content)}"
            content = content[int(wanted) :]
        cuts = self.hub.cuts.get(f"{name}/{path}", [])
        return self._send(status, content, kind, headers, cuts.pop(0) if cuts and self.command == "GET" else None)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), "application/json", headers)

    def _send(
        self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True
