# SPDX-License-Identifier: BSD-2-Clause
# program: packages=nginx-light,wrk,curl timeout=60 what=nginx with two workers under mtvg, load from wrk, reload, graceful stop
import os
import signal
import subprocess
import time

from support import DATA, call, free_port, start, stop, wait_port

port = free_port()
with open("nginx.conf", "w") as f:
    f.write("""daemon off; worker_processes 2; pid %s/pid; error_log %s/error.log;
%s
events { worker_connections 256; }
http { access_log off; gzip on; gzip_types *; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
uwsgi_temp_path u; scgi_temp_path s; sendfile on;
server { listen 127.0.0.1:%d; root %s; location /hello { return 200 "hello\\n"; } } }
""" % (os.getcwd(), os.getcwd(), "user root;" if os.geteuid() == 0 else "", port, DATA))
server = start(["nginx", "-p", os.getcwd(), "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
wait_port(port, server)
url = "http://127.0.0.1:%d/" % port
print(call(["curl", "-sS", url + "hello"]))
status, out = call(["curl", "-sS", url + "text"])
with open(DATA + "/text", "rb") as f:
    print(status, out == f.read())
status, out = call(["curl", "-sS", "--compressed", url + "text"])
print(status, len(out))
status, out = call(["wrk", "-t2", "-c16", "-d2s", url + "hello"])
print("wrk", status, b"Requests/sec" in out, b"Non-2xx" in out, b"Socket errors" in out)
server.send_signal(signal.SIGHUP)
time.sleep(1)
print(call(["curl", "-sS", url + "hello"]))
print(call(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url + "missing"]))
print("server", stop(server, signal.SIGQUIT))
