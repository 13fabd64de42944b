# SPDX-License-Identifier: BSD-2-Clause
# program: packages=openssl timeout=60 what=s_server and s_client, TLS 1.2 and 1.3, both under mtvg
import subprocess

from support import call, free_port, start, stop, wait_port

call(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
      "-keyout", "key", "-out", "crt", "-days", "1", "-subj", "/CN=localhost"],
     stderr=subprocess.DEVNULL)
port = free_port()
with open("page.txt", "w") as f:
    f.write("the page\n" * 2000)
server = start(["openssl", "s_server", "-accept", str(port), "-key", "key", "-cert", "crt", "-WWW",
                "-quiet"], stdout=subprocess.DEVNULL)
wait_port(port, server)
for version in ("-tls1_2", "-tls1_3"):
    for i in range(3):
        client = start(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, version, "-CAfile",
                        "crt", "-quiet", "-verify_return_error"], stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out, _ = client.communicate(b"GET /page.txt HTTP/1.0\r\n\r\n")
        print(version, i, out.count(b"the page"), client.returncode)
print("server", stop(server))
