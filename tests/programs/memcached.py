# SPDX-License-Identifier: BSD-2-Clause
# program: packages=memcached timeout=60 what=memcached with four threads under mtvg, eight clients at once
import os
import socket
import threading

from support import free_port, start, stop, wait_port

port = free_port()
server = start(["memcached", "-l", "127.0.0.1", "-p", str(port), "-t", "4", "-m", "16"] +
               (["-u", "root"] if os.geteuid() == 0 else []))
wait_port(port, server)
good = []


def client(n):
    s = socket.create_connection(("127.0.0.1", port))
    f = s.makefile("rwb")
    ok = 0
    for i in range(300):
        value = b"v%d" % (i * n)
        f.write(b"set k%d-%d 0 0 %d\r\n%s\r\n" % (n, i % 50, len(value), value))
        f.flush()
        ok += f.readline() == b"STORED\r\n"
        f.write(b"get k%d-%d\r\n" % (n, i % 50))
        f.flush()
        f.readline()
        ok += f.readline().strip() == value
        f.readline()
        f.write(b"incr counter 1\r\n")
        f.flush()
        f.readline()
    s.close()
    good.append(ok)


s = socket.create_connection(("127.0.0.1", port))
s.sendall(b"set counter 0 0 1\r\n0\r\n")
print(s.recv(100))
threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
s.sendall(b"get counter\r\n")
print(sorted(good), s.recv(100).split()[-2])
s.close()
print("server", stop(server))
