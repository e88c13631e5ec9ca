"""TLS in front of a stand-in: `tls_front.py FOLDER PORT TARGET-PORT`; takes leaf.pem and leaf.key of FOLDER."""

import asyncio
import ssl
import sys


async def pour(reader, writer):
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main(folder, port, target):
    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/leaf.pem", f"{folder}/leaf.key")
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context, backlog=512)
    async with server:
        await server.serve_forever()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
