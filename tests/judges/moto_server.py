"""Serves moto's Kinesis Video Streams on a free port until standard input ends.

moto's own server tells services apart by the signature. The control plane and the archive have the same one, so here
the path decides. moto lists no fragments: ListFragments returns the first line of standard input, a JSON array. Prints
the URL when the server is ready.
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


def exit_at_end_of_input():
    while sys.stdin.read(1):
        pass
    os._exit(0)


server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=exit_at_end_of_input, daemon=True).start()
print(f"http://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
