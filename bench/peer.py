"""The same job in Python: peer.py httpx|aiohttp URL CONCURRENT FOLDER. Embeds every image below the folder.

As the seed's script does it (one client, bounded concurrency, answers parsed), without its waiting for batches.
"""
import asyncio
import os
import sys

library, base, concurrent, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
EXTENSIONS = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"}


def images():
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, extension = os.path.splitext(name)
            if extension.lower() in EXTENSIONS:
                yield stem


async def with_httpx(work):
    import httpx

    limits = httpx.Limits(max_connections=concurrent, max_keepalive_connections=concurrent)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        async def embed(params):
            answer = await client.post(base + "/api/v1/embedding/image", params=params)
            return answer.status_code == 200 and answer.json()["status"] == "success"
        await work(embed)


async def with_aiohttp(work):
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrent)) as session:
        async def embed(params):
            async with session.post(base + "/api/v1/embedding/image", params=params) as answer:
                return answer.status == 200 and (await answer.json())["status"] == "success"
        await work(embed)


async def work(embed):
    ids, counts = images(), {True: 0, False: 0}

    async def worker():
        for image_id in ids:
            ok = await embed({"image_id": image_id, "normalize": "true", "auto_index": "true"})
            counts[ok] += 1

    await asyncio.gather(*(worker() for _ in range(concurrent)))
    print(counts[True], "succeeded,", counts[False], "failed")
    if counts[False]:
        sys.exit(1)


asyncio.run({"httpx": with_httpx, "aiohttp": with_aiohttp}[library](work))
