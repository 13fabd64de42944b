# SPDX-License-Identifier: BSD-2-Clause
# program: packages=musl-tools,gcc quick=yes what=programs on musl, dynamic and static: threads, cancellation, timers, dlopen, fork
cat > m.c <<'X'
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; static long n; static __thread int own; static sem_t s;
static void *add(void *a) { for (int i = 0; i < 10000; i++) { pthread_mutex_lock(&m); n++; own++; pthread_mutex_unlock(&m); } return (void *)(long)own; }
static void *wait(void *a) { sem_post(&s); sleep(1000); return 0; }
static volatile int got; static void on(int x) { got = x; }
int main(void) { pthread_t t[4]; void *v; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, add, 0); for (int i = 0; i < 4; i++) { pthread_join(t[i], &v); n += (long)v; } printf("%ld\n", n);
sem_init(&s, 0, 0); pthread_create(t, 0, wait, 0); sem_wait(&s); pthread_cancel(*t); pthread_join(*t, &v); printf("%d\n", v == PTHREAD_CANCELED); signal(SIGUSR1, on); raise(SIGUSR1); printf("%d\n", got == SIGUSR1);
int p = fork(); if (!p) _exit(7); int st; waitpid(p, &st, 0); printf("%d %d\n", WEXITSTATUS(st), system("exit 5") >> 8); char *x = malloc(1 << 20); memset(x, 1, 1 << 20); x = realloc(x, 1 << 22); printf("%d %.15g\n", x[1000], strtod("0.1", 0) * 3); timer_t ti; struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1}; got = 0; timer_create(CLOCK_MONOTONIC, &ev, &ti); struct itimerspec its = {.it_value.tv_nsec = 10000000}; timer_settime(ti, 0, &its, 0); while (!got) pause(); puts("timer"); FILE *f = popen("echo shell", "r"); char l[50]; fputs(fgets(l, 50, f), stdout); pclose(f); fflush(stdout); abort(); }
X
musl-gcc -O2 m.c -o d && $RUN ./d; echo "status $?"; musl-gcc -O2 -static m.c -o s && $RUN ./s; echo "status $?"
