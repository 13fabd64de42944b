# SPDX-License-Identifier: BSD-2-Clause
# program: packages=bash quick=yes compare=stdout what=a script with pipes, traps, jobs, arrays, here-documents, co-processes
cat > script <<'X'
set -u
fib() { if (($1 < 2)); then echo $1; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
echo "fib $(fib 7)"
declare -A map=([one]=1 [two]=2)
for k in one two; do echo "$k=${map[$k]}"; done
seq 1 1000 | while read -r n; do ((n % 100)) || echo "line $n"; done
trap 'echo usr1' USR1; kill -USR1 $$
trap 'echo exit trap $?' EXIT
(exit 3); echo "status $?"
sleep 0.1 & pid=$!; wait $pid; echo "waited $?"
sleep 100 & pid=$!; sleep 0.3; kill -TERM $pid; wait $pid; echo "killed $?"
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
exec {COPROC[1]}>&-
cat <<< "here $(echo nested)"
diff <(echo a; echo b) <(echo a; echo c)
echo "${PIPESTATUS[@]}" "${BASH_VERSINFO[0]}"
x=abcdef; echo "${x:2:3} ${x^^} ${x/cd/XX} ${#x}"
[[ "foo123" =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
printf '%s-%04d\n' a 1 b 22
yes | head -n 3
(kill -SEGV $BASHPID) 2> /dev/null; echo "segv $?"
ulimit -n
exit 17
X
$RUN bash ./script
echo "status $?"
$RUN bash -c 'no-such-command-here' 2> /dev/null; echo "status $?"
$RUN bash -c 'kill -TERM $$'; echo "status $?"
