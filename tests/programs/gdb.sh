# SPDX-License-Identifier: BSD-2-Clause
# program: packages=gdb,gcc modes=default,seq timeout=180 what=breakpoints, steps, watch, calls, core file, fork, threads, attach
cat > a.c <<'END'
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
long total;
volatile int go_on;
int add(int a, int b) { total += a; return a + b; }
int in_child(int x) { return x + 1; }
void *thread(void *p) { add(10, (int)(long)p); return p; }
int main(int argc, char **argv)
{
    pthread_t t;
    if (argc > 1 && argv[1][0] == 'w') {
        while (!go_on) { usleep(1000); }
        return add(3, 4);
    }
    for (int i = 0; i < 5; i++) { add(i, i); }
    pthread_create(&t, 0, thread, (void *)7L);
    pthread_join(t, 0);
    pid_t pid = fork();
    if (pid == 0) { _exit(in_child(4)); }
    int status;
    waitpid(pid, &status, 0);
    if (argc > 1) { *(volatile int *)16 = 1; }
    printf("%ld %d\n", total, WEXITSTATUS(status));
    return 0;
}
END
gcc -g -O0 -pthread a.c -o a || exit
# Addresses and numbers of processes differ; so does when the end of a thread or child is seen.
G() { $RUN gdb -q -nx -batch "$@" < /dev/null 2>&1 |
    grep -vE "thread debugging|libthread_db|^\[(New|Inferior|Detaching|Attaching|Switching)|exited\]|^[0-9]+	in |No such file" |
    sed -E 's/0x[0-9a-f]+/X/g; s/(process|LWP) [0-9]+/\1 N/g'; }
G -ex 'break add' -ex run -ex 'bt' -ex 'info args' -ex finish -ex 'delete 1' -ex 'watch total' -ex c -ex c \
    -ex 'delete 2' -ex 'call add(40, 2)' -ex 'tbreak thread' -ex c -ex 'bt 1' -ex next -ex c ./a
G -ex 'break main' -ex run -ex next -ex step -ex stepi -ex 'p $_siginfo.si_signo' -ex 'p/x $eflags & 0x100' \
    -ex 'catch syscall exit_group' -ex c -ex 'p $orig_rax' -ex kill ./a
G -ex 'set follow-fork-mode child' -ex 'break in_child' -ex run -ex 'p x' -ex 'set var x = 8' -ex c ./a
G -ex run -ex bt -ex 'p $_siginfo._sifields._sigfault.si_addr' -ex 'gcore core.a' --args ./a x | grep -vE '^(Saved|warning)'
gdb -q -nx -batch -ex 'p total' -ex 'bt' ./a core.a 2>/dev/null | grep -vE '^\[|thread_db|^$|Core was' | sed -E 's/0x[0-9a-f]+/X/g'
$RUN ./a wait & pid=$!
until grep -qE 'S \(sleeping\)' /proc/$pid/status && [ "$(cat /proc/$pid/comm)" = a ]; do sleep 0.05; done; sleep 0.2
G -p $pid -ex 'set var go_on = 1' -ex 'break add' -ex c -ex 'info args' -ex 'bt' -ex detach | grep -vE ' in |^warning|nanosleep'
wait $pid; echo $?
