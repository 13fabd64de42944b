# SPDX-License-Identifier: BSD-2-Clause
# program: packages=postgresql-15,postgresql-client-15 timeout=120 what=initdb, server, pgbench with four clients, queries with parallel workers
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

from support import RUN, free_port, start, stop, wait_port
import signal

BIN = "/usr/lib/postgresql/15/bin/"
folder = tempfile.mkdtemp(prefix="pg", dir="/tmp")
options = {}
if os.geteuid() == 0:           # it refuses to run as root
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
environment = dict(os.environ, HOME=folder, TMPDIR=folder)


def tool(argv, under=False, text=None):
    done = subprocess.run((RUN if under else []) + argv, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd=folder, env=environment, input=text,
                          timeout=300, **options)
    return done.returncode, done.stdout


server = None
try:
    status, out = tool([BIN + "initdb", "-D", folder + "/db", "-U", "tester", "-A", "trust",
                        "--no-sync", "--locale=C.UTF-8"], under=True)
    print("initdb", status)
    if status:
        print(out.decode(errors="replace"))
        sys.exit(1)
    port = free_port()
    server = start([BIN + "postgres", "-D", folder + "/db", "-p", str(port), "-k", folder, "-h",
                    "127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"], cwd=folder,
                   env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    wait_port(port, server)
    at = ["-h", "127.0.0.1", "-p", str(port), "-U", "tester"]
    for _ in range(100):
        if tool(["psql"] + at + ["-c", "select 1", "postgres"])[0] == 0:
            break
    print(tool(["createdb"] + at + ["bench"]))
    print("init", tool([BIN + "pgbench", "-i", "-q", "-s", "1"] + at + ["bench"])[0])
    status, out = tool([BIN + "pgbench", "-c", "4", "-j", "2", "-t", "100"] + at + ["bench"])
    print("pgbench", status, [l for l in out.decode().split("\n") if "actually processed" in l])
    sql = b"""set max_parallel_workers_per_gather=2; set min_parallel_table_scan_size=0; set parallel_setup_cost=0;
select count(*), sum(aid) from pgbench_accounts; select count(*) from pgbench_history;
select md5(string_agg(x::text, ',' order by x)) from generate_series(1, 20000) x;
create table w(t text); insert into w select md5(i::text) from generate_series(1, 5000) i; create index on w(t);
select count(*) from w where t like 'a%'; select to_char(pi(), '9.999999'), regexp_replace('foo bar', 'o+', 'x');
select 1/0; vacuum analyze;"""
    print(tool(["psql", "-X", "-A", "-t"] + at + ["bench"], text=sql)[1].decode())
    print("server", stop(server, signal.SIGINT))
    server = None
finally:
    if server:
        stop(server, signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)
