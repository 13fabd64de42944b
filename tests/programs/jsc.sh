# SPDX-License-Identifier: BSD-2-Clause
# program: packages=libjavascriptcoregtk-4.0-bin quick=yes what=JavaScriptCore: its tiers, WebAssembly, promises, and its collector running all the time
cat > a.js <<'E'
function fib(n){return n<2?n:fib(n-1)+fib(n-2)}
print(fib(27));
let m=new Map();for(let i=0;i<300000;i++){let k='k'+(i%5003);m.set(k,(m.get(k)||0)+i%7)}print(m.size,m.get('k17'));
class A{constructor(x){this.x=x}get y(){return this.x*2}}let s=0;for(let i=0;i<2e6;i++){let a=new A(i);s=(s+a.y)|0}print(s);
print('aaaaaaaaaaaaaaaaaaaaaaab'.replace(/(a+)+b/,'x'),/(\d+)-(\w+)/.exec('abc 123-foo')[2]);
function*g(){for(let i=0;i<1e5;i++)yield i}let t=0;for(let x of g())t+=x;print(t);
let f64=new Float64Array(1e5);for(let k=0;k<20;k++)for(let i=0;i<1e5;i++)f64[i]+=Math.sin(i*k);print(f64[777].toFixed(12));
function deep(n){return deep(n+1)+1}try{deep(0)}catch(e){print(e instanceof RangeError)}
try{null.x}catch(e){print(e.name)}
let b=10n**200n;print((b*b%997n).toString());
let bytes=new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
let inst=new WebAssembly.Instance(new WebAssembly.Module(bytes));let q=0;for(let i=0;i<1e6;i++)q=inst.exports.add(q,i);print(q);
(async()=>{let r=0;for(let i=0;i<20000;i++)r+=await i;print(r)})();
E
$RUN jsc a.js; echo $?
$RUN jsc --useConcurrentGC=1 --useConcurrentJIT=1 --collectContinuously=1 a.js; echo $?
