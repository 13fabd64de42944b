# SPDX-License-Identifier: BSD-2-Clause
# program: packages=nodejs timeout=60 what=V8 with all tiers, http server and client, worker_threads with SharedArrayBuffer, WebAssembly, child processes, crypto, zlib
cat > script.js <<'X'
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
if (!isMainThread) { const a = new Int32Array(workerData.s); for (let i = 0; i < 20000; i++) Atomics.add(a, 0, 1); let h = 0; for (let i = 0; i < 300000; i++) h = (h * 31 + i) | 0; parentPort.postMessage(h); return; }
const http = require('http'), zlib = require('zlib'), crypto = require('crypto'), fs = require('fs'), cp = require('child_process');
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
class P { constructor(x) { this.x = x; } get y() { return this.x * 2; } }
async function main() {
  console.log(fib(25)); let s = 0; for (let i = 0; i < 200000; i++) s += new P(i).y % 7; console.log(s);
  const m = new Map(); for (const w of fs.readFileSync(process.env.DATA + '/text', 'utf8').split(/\s+/)) m.set(w, (m.get(w) || 0) + 1);
  console.log([...m].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 3).join(' '), m.size);
  const server = http.createServer((q, r) => r.end('hello ' + q.url)).listen(0, '127.0.0.1'); await new Promise(r => server.on('listening', r));
  const get = u => new Promise(r => http.get({ port: server.address().port, host: '127.0.0.1', path: u, agent: false }, x => { let d = ''; x.on('data', c => d += c); x.on('end', () => r(d)); }));
  console.log((await Promise.all([...Array(50).keys()].map(i => get('/' + i)))).join(',').length); server.close();
  const sab = new SharedArrayBuffer(8); const results = await Promise.all([1, 2, 3].map(() => new Promise((r, e) => { const w = new Worker(__filename, { workerData: { s: sab } }); w.on('message', r); w.on('error', e); })));
  console.log(results.join(), new Int32Array(sab)[0]);
  const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,6,1,96,1,126,1,126,3,2,1,0,7,7,1,3,102,97,99,0,0,10,23,1,21,0,32,0,80,4,126,66,1,5,32,0,32,0,66,1,125,16,0,126,11,11]);
  const { instance } = await WebAssembly.instantiate(wasm); console.log(instance.exports.fac(20n)); let t = 0n; for (let i = 0; i < 20000; i++) t += instance.exports.fac(BigInt(i % 20)); console.log(t);
  const text = fs.readFileSync(process.env.DATA + '/text'); console.log(crypto.createHash('sha256').update(text).digest('hex'), zlib.gunzipSync(zlib.gzipSync(text)).equals(text), zlib.brotliDecompressSync(zlib.brotliCompressSync(text.subarray(0, 100000), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } })).length);
  console.log(cp.execSync('echo from a child').toString().trim(), cp.spawnSync(process.execPath, ['-e', 'process.exit(6)']).status);
  try { null.x; } catch (e) { console.log(e.constructor.name); } console.log(/(\w+)@(\w+)\.org/.exec('mail someone@example.org')[2], [3, 1, 2].toSorted ? 'new' : 'old', 2n ** 100n);
  for (let i = 0; i < 30; i++) { const f = new Function('x', 'let s = ' + i + '; for (let k = 0; k < 3000; k++) s = (s * 33 + x + k) | 0; return s;'); s = (s + f(i)) | 0; } console.log(s); if (global.gc) gc();
}
main().then(() => process.exitCode = 4);
X
$RUN node --expose-gc script.js; echo "status $?"
$RUN node -e 'throw new Error("x")' 2> /dev/null; echo "status $?"; $RUN node -e 'process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 10000)'; echo "status $?"
