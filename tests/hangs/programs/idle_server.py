"""unknown: a server waits for a client from outside."""

import socket
import threading

server = socket.create_server(("127.0.0.1", 0))
thread = threading.Thread(target=server.accept)
thread.start()
thread.join()
