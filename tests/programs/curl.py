# SPDX-License-Identifier: BSD-2-Clause
# program: compare=stdout packages=curl,python3 quick=yes timeout=60 what=curl against python's http.server: files, ranges, uploads refused, parallel transfers; both under mtvg
import subprocess

from support import DATA, call, free_port, start, stop, wait_port

port = free_port()
server = start(["/usr/bin/python3", "-m", "http.server", str(port), "--bind", "127.0.0.1",
                "--directory", DATA], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wait_port(port, server)
url = "http://127.0.0.1:%d/" % port
status, out = call(["curl", "-sS", url + "text"], under=True)
with open(DATA + "/text", "rb") as f:
    print("text", status, out == f.read())
print(call(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}\n", url + "noise"],
           under=True))
print(call(["curl", "-sS", "-f", url + "missing"], under=True, stderr=subprocess.DEVNULL))
print(call(["curl", "-sSI", "-w", "%{http_code}", "-o", "/dev/null", url], under=True))
print(call(["curl", "-sS", "-d", "x=1", "-o", "/dev/null", "-w", "%{http_code}", url], under=True))
names = ["tree/d0/file%d.txt" % i for i in range(0, 56, 7)]
status, out = call(["curl", "-sS", "--parallel", "--parallel-max", "4"] +
                   [w for n in names for w in ("-o", n.replace("/", "_"), url + n)], under=True)
same = 0
for n in names:
    with open(n.replace("/", "_"), "rb") as a, open(DATA + "/" + n, "rb") as b:
        same += a.read() == b.read()
print("parallel", status, same, len(names))
print(call(["curl", "-s", "http://127.0.0.1:1/"], under=True))
print("server", stop(server))
