# SPDX-License-Identifier: BSD-2-Clause
# program: packages=ruby timeout=60 what=hashes, fibers, threads, fork, regular expressions, big numbers, signals
cat > s.rb <<'X'
def fib(n) n < 2 ? n : fib(n - 1) + fib(n - 2) end
puts fib(20); words = File.read(ENV["DATA"] + "/text").split.tally; puts words.size, words.max_by { |w, n| [n, w] }.inspect
q = Queue.new; 100.times { |i| q << i }; t = 4.times.map { Thread.new { s = 0; loop { s += q.pop(true) } rescue s } }; puts t.sum(&:value)
f = Fiber.new { 3.times { |i| Fiber.yield i }; :done }; puts 4.times.map { f.resume }.inspect
pid = fork { exit 5 }; Process.wait pid; puts $?.exitstatus; puts `echo shell`; puts 2**200, 100.downto(1).inject(:*) % 1000003
got = 0; trap("USR1") { got += 1 }; Process.kill("USR1", Process.pid); sleep 0.05; puts got
puts "abc-123".gsub(/(\w+)-(\d+)/, '\2 \1'), (1..20000).map { |i| i * i % 97 }.sort.each_slice(100).map(&:sum).inspect
begin; raise ArgumentError, "x"; rescue => e; puts e.class; end; GC.start; def d(n) d(n + 1) end; begin; d(0); rescue SystemStackError; puts "deep"; end; exit 3
X
$RUN ruby s.rb; echo "status $?"
