"""A headless Chromium for tests, driven by its own protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """An open page."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.count = socket, 0

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self.count += 1
        await self.socket.send_json({"id": self.count, "method": method, "params": parameters})
        while True:
            answer = json.loads((await self.socket.receive(timeout=60)).data)
            if answer.get("id") == self.count:
                return answer["result"]

    async def value(self, code: str) -> Any:
        """Return the value of an expression."""
        found = await self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description"))
        return found["result"].get("value")

    async def wait(self, code: str, seconds: float = 60.0) -> float:
        """Wait until an expression holds; return the seconds."""
        start = time.monotonic()
        while not await self.value(f"(() => {{ try {{ return !!({code}) }} catch {{ return false }} }})()"):
            if time.monotonic() - start > seconds:
                raise TimeoutError(code)
            await asyncio.sleep(0.05)
        return time.monotonic() - start

    async def click(self, x: float, y: float) -> None:
        """Move there, press and release."""
        await self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def visit(url: str, folder: Path, work: Callable[[Page], Coroutine[Any, Any, Any]]) -> Any:
    """Open a page in a browser of its own, do some work with it, and close the browser."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1450,800",
        "--remote-debugging-port=0",
    ]
    browser = subprocess.Popen(
        [CHROMIUM, *options, f"--user-data-dir={folder}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return asyncio.run(_session(folder, work))
    finally:
        browser.terminate()
        browser.wait(30)


async def _session(folder: Path, work: Callable[[Page], Coroutine[Any, Any, Any]]) -> Any:
    import aiohttp

    named = folder / "DevToolsActivePort"
    start = time.monotonic()
    while not named.is_file() or not named.read_text().strip():
        if time.monotonic() - start > 60:
            raise TimeoutError("the browser did not start")
        await asyncio.sleep(0.05)
    port = int(named.read_text().split()[0])
    async with aiohttp.ClientSession() as http:
        pages: list[Any] = []
        while not pages:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [p for p in await answer.json() if p["type"] == "page"]
        async with http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            return await work(Page(socket))
