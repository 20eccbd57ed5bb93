"""An S3 server for tests: objects in memory, read and listed over HTTP with path-style addresses, as pyarrow does it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

PAGE = 3  # keys in an answer: lists of more keys have several pages


class _Handler(http.server.BaseHTTPRequestHandler):
    objects: dict[str, bytes]
    signed: set[bool]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        self.signed.add("Authorization" in self.headers)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if not any(name.startswith(f"{bucket}/") for name in self.objects):
            self._send(404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>")
        elif "list-type" in query:
            self._send(200, self._listed(bucket, query))
        elif not key:
            self._send(200, b"")
        elif f"{bucket}/{key}" in self.objects:
            self._object(self.objects[f"{bucket}/{key}"])
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")

    def _object(self, data: bytes) -> None:
        unit, _, wanted = self.headers.get("Range", "").partition("=")
        if unit != "bytes":
            self._send(200, data)
            return
        first, last = (int(word) for word in wanted.split("-"))
        self._send(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _listed(self, bucket: str, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], []
        for name in sorted(self.objects):
            own, _, key = name.partition("/")
            if own != bucket or not key.startswith(prefix):
                continue
            below = key[len(prefix) :]
            if delimiter and delimiter in below:
                folders.append(prefix + below.split(delimiter)[0] + delimiter)
            else:
                keys.append(key)
        start = int(query.get("continuation-token", "0"))
        size = min(PAGE, int(query.get("max-keys", PAGE)))
        items = [*dict.fromkeys(folders), *keys]
        page, more = items[start : start + size], start + size < len(items)
        xml = [f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"]
        if more:
            xml.append(f"<NextContinuationToken>{start + size}</NextContinuationToken>")
        for item in page:
            if item in folders:
                xml.append(f"<CommonPrefixes><Prefix>{escape(item)}</Prefix></CommonPrefixes>")
            else:
                size_of = len(self.objects[f"{bucket}/{item}"])
                xml.append(f"<Contents><Key>{escape(item)}</Key><Size>{size_of}</Size></Contents>")
        return f'<?xml version="1.0"?><ListBucketResult>{"".join(xml)}</ListBucketResult>'.encode()

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[tuple[str, set[bool]]]:
    """Serves ``objects`` (``bucket/key``: content). Yields its URL, and whether requests were signed."""
    signed = set[bool]()
    handler = type("Handler", (_Handler,), {"objects": objects, "signed": signed})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", signed
        server.shutdown()
        thread.join()


@contextmanager
def s3_environment(
    objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Iterator[dict[str, bytes]]:
    """The variables of AWS lead to a server of ``objects``, also for processes that are started."""
    from adaptrt.sources import s3

    with s3_server(objects) as (url, _):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(folder / "none"))
        s3._filesystem.cache_clear()
        yield objects
        s3._filesystem.cache_clear()
