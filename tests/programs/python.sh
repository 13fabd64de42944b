# SPDX-License-Identifier: BSD-2-Clause
# program: packages=python3 quick=yes timeout=60 what=threading, multiprocessing, subprocess, ctypes, asyncio, json, re, decimal
cat > script.py <<'X'
import asyncio, collections, concurrent.futures, ctypes, decimal, hashlib, itertools, json, math, multiprocessing, os, queue, re, signal, socket, struct, subprocess, sys, tempfile, threading, time, zlib
def work(n): return sum(i * i for i in range(n))
def main():
    q, results, lock = queue.Queue(), [], threading.Lock()
    def run():
        while (n := q.get()) is not None:
            v = work(n)
            with lock: results.append(v)
    ts = [threading.Thread(target=run) for _ in range(4)]
    for t in ts: t.start()
    for i in range(100): q.put(i * 20)
    for t in ts: q.put(None)
    for t in ts: t.join()
    print(sum(results))
    with multiprocessing.Pool(3) as p: print(sum(p.map(work, range(0, 2000, 100))))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as p: print(sum(p.map(work, range(5))))
    print(subprocess.run(["sh", "-c", "read x; echo got $x; exit 3"], input=b"words\n", capture_output=True))
    print(subprocess.call([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]))
    try: subprocess.run(["/nonexistent"])
    except FileNotFoundError as e: print(e)
    libc = ctypes.CDLL(None)
    CMP = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    a = (ctypes.c_int * 8)(5, 3, 9, 1, 7, 2, 8, 4)
    libc.qsort(a, 8, 4, CMP(lambda x, y: x[0] - y[0])); print(list(a), libc.strlen(b"four"))
    libc.printf.argtypes = [ctypes.c_char_p, ctypes.c_double]; libc.snprintf.restype = ctypes.c_int
    buf = ctypes.create_string_buffer(50); libc.snprintf(buf, 50, b"%.3f", ctypes.c_double(2.5)); print(buf.value)
    async def tick(n): await asyncio.sleep(0.01 * n); return n
    async def all(): return await asyncio.gather(*(tick(i) for i in range(5)))
    print(asyncio.run(all()))
    got = []
    signal.signal(signal.SIGALRM, lambda s, f: got.append(s)); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.3); print(got)
    data = open(os.environ["DATA"] + "/text").read()
    print(collections.Counter(data.split()).most_common(3), len(re.findall(r"\b[aeiou]\w+[^aeiou]\b", data)))
    print(hashlib.sha256(data.encode()).hexdigest(), zlib.crc32(zlib.compress(data.encode(), 6)), len(json.dumps(data.split()[:1000])))
    decimal.getcontext().prec = 60; print(decimal.Decimal(2).sqrt(), math.factorial(60), pow(3, 1000, 10**20), 2**200 // 7**30)
    print(sum(1 for p in itertools.permutations(range(7)) if p[0] < p[-1]), struct.pack("<hIq", 1, 2, 3).hex())
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
    def serve(): c, _ = s.accept(); c.sendall(c.recv(100).upper()); c.close()
    t = threading.Thread(target=serve); t.start()
    c = socket.create_connection(s.getsockname()); c.sendall(b"hello"); print(c.recv(100)); t.join()
    pid = os.fork()
    if pid == 0: os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
if __name__ == "__main__":
    main()
    sys.exit(9)
X
$RUN /usr/bin/python3 script.py; echo "status $?"
