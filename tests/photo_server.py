"""A server of photos on this machine that fails in ten ways, for the downloader's tests and its benchmark.

Addresses: `/photo/N.jpg` one of a few photos; `/busy/N.jpg` the same, but the first time 503 and Retry-After;
`/FAILURE/N.jpg` with one of `FAILURES`. `python tests/photo_server.py FOLDER` prints its port and serves until killed;
`/count` tells how often each address was asked for, `/times` when the first and the last request for a photo came.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

FAILURES = ("missing", "gone", "forbidden", "broken", "reset", "page", "short", "empty", "loop", "silent")
"""404, 410, 403, 500, a closed connection, a web page, half a photo, none, redirects in a circle, no answer."""
STATUS = {"missing": "404 Not Found", "gone": "410 Gone", "forbidden": "403 Forbidden", "broken": "500 Server Error"}


class Server:
    """Answers by path; counts what it was asked."""

    def __init__(self, photos: list[bytes], silence: float):
        self.photos, self.silence = photos, silence
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.times = [0.0, 0.0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept open."""
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                while (await reader.readline()).strip():
                    pass
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    if not await self.answer(line.split()[1].decode(), writer):
                        break
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        kind = path.split("/")[1]
        told = {"count": self.asked, "times": self.times, "most": self.most_at_once}
        if kind in told:
            return await self.send(writer, json.dumps(told[kind]).encode(), kind="application/json")
        now = time.time()
        self.times = [self.times[0] or now, now]
        self.asked[path] += 1
        photo = self.photos[int(path.split("/")[-1].split(".")[0]) % len(self.photos)]
        if kind == "busy" and self.asked[path] == 1:
            return await self.send(writer, b"", "503 Busy", ["Retry-After: 1"])
        if kind in STATUS:
            return await self.send(writer, b"no", STATUS[kind])
        if kind == "loop":
            return await self.send(writer, b"", "302 Found", [f"Location: {path}"])
        if kind == "page":
            return await self.send(writer, b"<html>Please log in</html>", kind="text/html")
        if kind == "silent":
            await asyncio.sleep(self.silence)
            return False
        if kind == "reset":
            writer.transport.abort()
            return False
        if kind == "short":
            await self.send(writer, photo, sent=len(photo) // 2)
            return False
        return await self.send(writer, b"" if kind == "empty" else photo)

    async def send(self, writer, body: bytes, status="200 OK", headers=(), kind="image/jpeg", sent=None) -> bool:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {kind}", *headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body[:sent])
        await writer.drain()
        return True


async def main(folder: Path, silence: float) -> None:
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    server = await asyncio.start_server(Server(photos, silence).serve, "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 30.0))
