"""A real Azure Blob Storage on this machine: Azurite, Microsoft's own emulator, on loopback.

npm's package ``azurite``: 360 MB, so that nobody installs it for these tests alone. They look for
``azurite-blob`` on the path, and in the folder that ``DISTCNN_AZURITE`` names.
"""

import base64
import hashlib
import hmac
import http.client
import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path

import psutil
from clusters.machines.swift_store import free_ports
from conformance.cluster_checks import wait_until

ACCOUNT = "tester"


def program() -> str | None:
    """The path of Azurite's server of blobs."""
    folder = os.environ.get("DISTCNN_AZURITE")
    return shutil.which("azurite-blob", path=folder) or shutil.which("azurite-blob")


def why_not() -> str:
    """What is missing for a store here; empty if nothing is."""
    where = "on the path or in DISTCNN_AZURITE (npm install azurite)"
    return "" if program() else f"Azurite is not installed: no azurite-blob {where}"


class AzureStore:
    """``endpoint`` is where blobs are, with ``ACCOUNT`` and ``secret``; nothing is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secret = folder, base64.b64encode(secrets.token_bytes(64)).decode()
        (self.port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def start(self) -> "AzureStore":
        """Start it, and wait until it answers."""
        words = [program(), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        words += ["--inMemoryPersistence", "--disableTelemetry", "--silent"]
        with (self.folder / "azurite.log").open("ab") as log:
            self.process = psutil.Popen(
                words,
                cwd=self.folder,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.secret}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "azurite.log").read_text()
        with suppress(OSError):
            self.make_container("ready")
            return True
        return False

    def make_container(self, name: str) -> None:
        """Make a container, if it is not there."""
        path, resource = f"/{ACCOUNT}/{name}", "restype=container"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        signed = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
        text = f"PUT{12 * chr(10)}{signed}/{ACCOUNT}{path}\n{resource.replace('=', ':')}"
        digest = hmac.new(base64.b64decode(self.secret), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", f"{path}?{resource}", headers=headers)
        answer = connection.getresponse()
        assert answer.status in {201, 409}, answer.read()
        connection.close()

    @property
    def environment(self) -> dict[str, str]:
        """With it ``az://`` leads here."""
        return {
            "AZURE_STORAGE_ACCOUNT": ACCOUNT,
            "AZURE_STORAGE_KEY": self.secret,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
            "AZURE_ALLOW_HTTP": "true",
        }

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
