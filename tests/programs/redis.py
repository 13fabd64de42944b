# SPDX-License-Identifier: BSD-2-Clause
# program: packages=redis-server,redis-tools timeout=60 what=redis-server under mtvg, redis-benchmark, commands, background save with I/O threads
import subprocess
import time

from support import call, free_port, start, stop, wait_port

port = free_port()
server = start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", ".", "--save", "",
                "--io-threads", "2", "--io-threads-do-reads", "yes"], stdout=subprocess.DEVNULL)
wait_port(port, server)
cli = ["redis-cli", "-p", str(port)]
for words in ("set a 1", "incrby a 41", "lpush l x y z", "lrange l 0 -1", "hset h f v", "hgetall h",
              "zadd z 1 a 2 b 0.5 c", "zrange z 0 -1 withscores", "eval return(redis.call('get','a')+1) 0",
              "setex e 100 v", "ttl nothing", "pfadd p a b c", "pfcount p", "xadd s 1-1 f v", "xlen s"):
    print(words, call(cli + words.split()))
status, out = call(["redis-benchmark", "-p", str(port), "-n", "4000", "-c", "20", "-q", "-t",
                    "ping,set,get,incr,lpush,sadd,hset,mset"])
print("benchmark", status, out.replace(b"\r", b"\n").count(b"requests per second, p50"))
print(call(cli + ["bgsave"]))
for _ in range(300):
    if b"rdb_bgsave_in_progress:0" in call(cli + ["info", "persistence"])[1]:
        break
    time.sleep(0.1)
print(b"rdb_last_bgsave_status:ok" in call(cli + ["info", "persistence"])[1])
print(call(["redis-check-rdb", "dump.rdb"], under=True)[0])
print(call(cli + ["dbsize"]))
print("server", stop(server))
