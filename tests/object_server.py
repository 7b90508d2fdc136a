"""An S3 server in this process (moto), and where its addresses lead."""

import http.client
import logging
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from moto.server import ThreadedMotoServer

BUCKET = "survey-bucket"
SECRET = "nobody-may-ever-read-this-one"


@contextmanager
def moto_server():
    """A server on a free port of loopback, with an empty bucket; gives its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        make_bucket(f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint, bucket=BUCKET):
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()


def credentials(patch: pytest.MonkeyPatch, home, endpoint):
    """Let this process and its children find the server, and nothing of the user's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    patch.setenv("AWS_ACCESS_KEY_ID", "tester")
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_ALLOW_HTTP", "true")


class Relay:
    """Passes requests on to a server after ``look``; what that returns is answered instead."""

    def __init__(self, target, look):
        self.target, self.look = target, look

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                instead = outer.look(self)
                if instead is not None:
                    status, data, headers = instead[0], instead[1], []
                else:
                    host = outer.target.removeprefix("http://")
                    connection = http.client.HTTPConnection(host)
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    status, data, headers = response.status, response.read(), response.getheaders()
                    connection.close()
                self.send_response_only(status)
                kept = {"etag", "last-modified", "content-type", "content-range"}
                for name, value in headers:
                    if name.lower() in kept:
                        self.send_header(name, value)
                length = {n.lower(): v for n, v in headers}.get("content-length")
                self.send_header("content-length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def google_relay(s3_endpoint):
    """The XML interface of Google's store, which is that of S3 but for names of headers."""

    def as_s3(handler):
        if source := handler.headers.get("x-goog-copy-source"):
            handler.headers["x-amz-copy-source"] = source
        handler.path = handler.path.replace("%2D", "-")  # of the bucket; moto takes it as it is

    return Relay(s3_endpoint, as_s3)
