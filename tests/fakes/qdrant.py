"""A stub server of Qdrant: the REST calls that this product makes, answered by Qdrant's own engine (qdrant-edge-py)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge

from tests.fakes.model_server import Reply

KEY = "stub-qdrant-key-0123456789"
_DISTANCES = {"Dot": edge.Distance.Dot, "Cosine": edge.Distance.Cosine}


class FakeQdrant:
    """Collections in a temporary directory. All attributes can be changed while it runs.

    `reply` is sent instead of an answer to the paths that contain `reply_to`.
    """

    def __init__(self, *, version: str = "1.20.2", key: str = "") -> None:
        self.version = version
        self.key = key
        self.reply: Reply | None = None
        self.reply_to = ""
        #: Request lines, and the JSON of the requests that have any, with the same index.
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.configs: dict[str, Any] = {}
        self.indexes: dict[str, dict[str, Any]] = {}
        self.address = ""
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self._shards: dict[str, edge.EdgeShard] = {}
        self._directory = Path()

    def settings(self) -> dict[str, str]:
        """Return the settings that make the product use this server."""
        return {"QDRANT_URL": self.address, "QDRANT_API_KEY": self.key}

    def points(self, collection: str) -> int:
        """Return the number of points of a collection."""
        with self.lock:
            return self._shards[collection].count(edge.CountRequest(exact=True))

    def payloads(self, collection: str) -> list[dict[str, Any]]:
        """Return the payloads of all points."""
        with self.lock:
            shard = self._shards[collection]
            records, _ = shard.scroll(edge.ScrollRequest(limit=100_000, with_payload=True))
            return [dict(record.payload or {}) for record in records]

    def lose(self, collection: str) -> None:
        """Delete a collection without a request, as a disk does that is replaced."""
        with self.lock:
            self._shards.pop(collection).close()
            del self.configs[collection]
            self.indexes.pop(collection, None)
            shutil.rmtree(self._directory / collection)

    def forget_requests(self) -> None:
        """Empty the lists of requests: a test of an hour would fill the memory."""
        with self.lock:
            for recorded in (self.requests, self.bodies, self.headers):
                recorded.clear()

    def paths(self, part: str) -> list[str]:
        """Return the request lines that contain this."""
        return [line for line in self.requests if part in line]

    @contextmanager
    def serving(self, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Self]:
        """Run the server in threads for the block, on this port or a free one."""
        with tempfile.TemporaryDirectory() as directory:
            self._directory = Path(directory)
            server = _Server(self, host, port)
            self.address = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="qdrant")
            thread.start()
            try:
                yield self
            finally:
                self.closing.set()
                server.shutdown()
                thread.join()
                server.server_close()
                with self.lock:
                    for shard in self._shards.values():
                        shard.close()
                    self._shards.clear()

    def answer(self, method: str, path: str, body: Any) -> Reply:
        """Return the response to a request."""
        if self.reply is not None and self.reply_to in path:
            return self.reply
        parts = [unquote(part) for part in path.strip("/").split("/") if part]
        with self.lock:
            if parts[2:] and parts[2] in ("points", "facet") and parts[1] in self._shards:
                return self._answer_points(self._shards[parts[1]], "/".join([method, *parts[2:]]), body)
            match method, *parts:
                case ("GET",):
                    return Reply({"title": "qdrant", "version": self.version, "commit": "stub"})
                case "GET", "collections":
                    return _result({"collections": [{"name": name} for name in self._shards]})
                case "GET", "collections", name, "exists":
                    return _result({"exists": name in self._shards})
                case "PUT", "collections", name:
                    return self._create(name, body)
                case _, "collections", name, *_ if name not in self._shards:
                    return _error(404, f"Not found: Collection `{name}` doesn't exist!")
                case "DELETE", "collections", name:
                    self.lose(name)
                    return _result(True)
                case "PUT", "collections", name, "index":
                    return self._create_index(name, body)
        return _error(404, f"nothing at {method} {path}")

    def _answer_points(self, shard: edge.EdgeShard, call: str, body: Mapping[str, Any]) -> Reply:
        match call:
            case "PUT/points":
                return self._upsert(shard, body)
            case "POST/points/delete":
                shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(body["filter"])))
                return _result(_DONE)
            case "POST/points/count":
                request = edge.CountRequest(exact=body["exact"], filter=_filter(body["filter"]))
                return _result({"count": shard.count(request)})
            case "POST/points/query/batch":
                return _result([self._query(shard, each) for each in body["searches"]])
            case "POST/facet":
                facet = edge.FacetRequest(key=body["key"], limit=body["limit"], exact=body["exact"])
                return _result({"hits": [{"value": hit.value, "count": hit.count} for hit in shard.facet(facet)]})
        return _error(404, f"nothing at {call}")

    def _create(self, name: str, body: Mapping[str, Any]) -> Reply:
        if name in self._shards:
            return _error(409, f"Wrong input: Collection `{name}` already exists!")
        vectors, hnsw = body["vectors"], body["hnsw_config"]
        params = edge.EdgeVectorParams(size=vectors["size"], distance=_DISTANCES[vectors["distance"]])
        config = edge.EdgeConfig(
            vectors=params,
            hnsw_config=edge.HnswIndexConfig(
                m=hnsw["m"], ef_construct=100, full_scan_threshold=10_000, payload_m=hnsw["payload_m"]
            ),
        )
        self._shards[name] = edge.EdgeShard.create(str(self._directory / name), config)
        self.configs[name] = body
        return _result(True)

    def _create_index(self, name: str, body: Mapping[str, Any]) -> Reply:
        schema = edge.KeywordIndexParams(is_tenant=body["field_schema"]["is_tenant"])
        self._shards[name].update(edge.UpdateOperation.create_field_index(body["field_name"], schema))
        self.indexes.setdefault(name, {})[body["field_name"]] = body["field_schema"]
        return _result(_DONE)

    def _upsert(self, shard: edge.EdgeShard, body: Mapping[str, Any]) -> Reply:
        batch = body["batch"]
        rows = zip(batch["ids"], batch["vectors"], batch["payloads"], strict=True)
        shard.update(edge.UpdateOperation.upsert_points([edge.Point(*row) for row in rows]))
        return _result(_DONE)

    def _query(self, shard: edge.EdgeShard, body: Mapping[str, Any]) -> dict[str, Any]:
        request = edge.QueryRequest(
            limit=body["limit"],
            query=edge.Query.Nearest(body["query"]["nearest"]),
            filter=_filter(body["filter"]),
            params=edge.SearchParams(exact=body["params"]["exact"]),
            with_payload=body["with_payload"],
            with_vector=body["with_vector"],
        )
        found = shard.query(request)
        return {"points": [{"id": str(point.id), "version": 0, "score": point.score} for point in found]}


_DONE = {"operation_id": 0, "status": "completed"}


def _filter(body: Mapping[str, Any]) -> edge.Filter:
    (condition,) = body["must"]
    return edge.Filter(
        must=[edge.FieldCondition(key=condition["key"], match=edge.MatchValue(condition["match"]["value"]))]
    )


def _result(result: Any) -> Reply:
    return Reply({"result": result, "status": "ok", "time": 0.0001})


def _error(status: int, message: str) -> Reply:
    return Reply({"status": {"error": message}, "time": 0.0}, status)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(self, stub: FakeQdrant, host: str, port: int) -> None:
        self.stub = stub
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _respond(self) -> None:
        stub = self.server.stub
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        with stub.lock:
            stub.requests.append(f"{self.command} {self.path}")
            stub.bodies.append(body)
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
        if stub.key and self.headers.get("api-key") != stub.key:
            reply = Reply(b"Invalid API key or JWT", 401)
        else:
            reply = stub.answer(self.command, urlsplit(self.path).path, body)
        if reply.fault:
            self.close_connection = True
        if reply.fault == "hang":
            stub.closing.wait()
        elif reply.fault != "drop":
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.wfile.write(f"HTTP/1.1 {reply.status} Status\r\n{head}\r\n".encode() + content)

    do_GET = do_PUT = do_POST = do_DELETE = _respond

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    """Serve as Qdrant does in its container, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with FakeQdrant(key=os.environ.get("QDRANT__SERVICE__API_KEY", "")).serving(host="0.0.0.0", port=6333):
        signal.pause()


if __name__ == "__main__":
    main()
