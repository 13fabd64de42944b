# SPDX-License-Identifier: BSD-2-Clause
# program: packages=php-cli timeout=60 what=arrays, strings, PCRE with its JIT, closures, generators, processes
cat > s.php <<'X'
<?php function fib($n) { return $n < 2 ? $n : fib($n - 1) + fib($n - 2); } echo fib(22), "\n";
$w = array_count_values(preg_split('/\s+/', trim(file_get_contents(getenv('DATA') . '/text')))); ksort($w); arsort($w); echo count($w), ' ', array_key_first($w), "\n";
echo preg_match_all('/\b([aeiou]\w+?)([^aeiou])\b/', file_get_contents(getenv('DATA') . '/text')), "\n"; for ($i = 0; $i < 50; $i++) { echo preg_replace("/(a{$i}b|c)+x?/", 'y', 'abcabcx'), $i % 10 == 9 ? "\n" : ' '; }
function g() { for ($i = 0; $i < 5; $i++) yield $i => $i * $i; } foreach (g() as $k => $v) echo "$k:$v "; echo "\n", md5(serialize($w)), ' ', crc32('x'), ' ', json_encode(['a' => [1, 2.5, null]]), "\n";
echo shell_exec('echo shell'); $a = [3, 1, 2]; usort($a, fn($x, $y) => $x <=> $y); echo implode(',', $a), "\n"; try { intdiv(1, 0); } catch (DivisionByZeroError $e) { echo get_class($e), "\n"; } exit(6);
X
$RUN php s.php; echo "status $?"
