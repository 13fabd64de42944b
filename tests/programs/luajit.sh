# SPDX-License-Identifier: BSD-2-Clause
# program: packages=luajit timeout=60 quick=yes what=recursion, tables, strings, coroutines, closures, numeric loops
cat > s.lua <<'X'
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print(fib(24)); local t = {} for i = 1, 20000 do t[i] = (i * 7919) % 10007 end table.sort(t) print(t[1], t[10000], t[20000])
local n, seen = 0, {} for w in io.open(os.getenv("DATA") .. "/text"):read("*a"):gmatch("%a+") do if not seen[w] then seen[w] = true n = n + 1 end end print(n)
local co = coroutine.wrap(function() for i = 1, 1000 do coroutine.yield(i) end return -1 end) local s = 0 for i = 1, 1000 do s = s + co() end print(s)
local x = 0.5 for i = 1, 2000000 do x = 3.9 * x * (1 - x) end print(string.format("%.3f", x)) print(("hello"):rep(3, "-"), ("a,b,c"):gsub(",", ";"))
print(pcall(error, "oops")) local m = setmetatable({}, {__index = function(t, k) return k * 2 end}) print(m[21]) local c = 0 for i = 1, 300000 do local f = function() return i end c = c + f() end print(c)
local p = {} for i = 2, 20000 do if not p[i] then for k = i * i, 20000, i do p[k] = true end end end local k = 0 for i = 2, 20000 do if not p[i] then k = k + 1 end end print(k) collectgarbage() os.exit(7)
X
$RUN luajit s.lua; echo "status $?"
$RUN luajit -joff s.lua; echo "status $?"
cat > f.lua <<'X'
local ffi = require("ffi") ffi.cdef "int qsort(void*, size_t, size_t, int(*)(const int*, const int*)); size_t strlen(const char*);"
local a = ffi.new("int[8]", 5, 3, 9, 1, 7, 2, 8, 4) ffi.C.qsort(a, 8, 4, function(x, y) return x[0] - y[0] end) for i = 0, 7 do io.write(a[i], " ") end print(tonumber(ffi.C.strlen("four")))
X
$RUN luajit f.lua; $RUN luajit -O3 -Ohotloop=1 -Ohotexit=1 s.lua; echo "status $?"
