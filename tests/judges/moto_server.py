"""Kinesis Video Streams as moto has it, on a port of its own choice, until standard input ends.

moto's own server tells services apart by what requests are signed for, and cannot tell the control plane from the
archive: both are signed alike. Here the path decides. moto lists no fragments, so the first line of standard input,
a JSON array, is what ListFragments lists. Prints the URL when it can be called.
"""

import json
import os
import sys
import threading

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

ARCHIVE = ["/getHLSStreamingSessionURL", "/getDASHStreamingSessionURL", "/getClip"]

listed = json.loads(sys.stdin.readline())
control, archive = create_backend_app("kinesisvideo"), create_backend_app("kinesisvideoarchivedmedia")


def list_fragments(environ, start_response):
    body = json.dumps({"Fragments": listed})
    return Response(body, content_type="application/json")(environ, start_response)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    chosen = list_fragments if path == "/listFragments" else archive if path in ARCHIVE else control
    return chosen(environ, start_response)


def until_nobody_is_there():
    while sys.stdin.read(1):
        pass
    os._exit(0)


server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=until_nobody_is_there, daemon=True).start()
print(f"http://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
