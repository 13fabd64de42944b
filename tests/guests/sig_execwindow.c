/* SPDX-License-Identifier: BSD-2-Clause
 * sig_execwindow.c -- a signal that comes while a program is executed is handled by the old program
 * or kills the new one; it is never lost. A timer, which goes on through exec, sweeps over the
 * moments.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { ROUNDS = 300, STEP_US = 4 };

static void on_alarm(int sig)
{
    _exit(1);
}

/* The new program: the timer's signal must still come. */
static void wait_for_it(void)
{
    sleep(5);
    _exit(2);
}

static void run_child(const char *self, int delay_us)
{
    const struct itimerval it = {.it_value = {.tv_usec = delay_us}};

    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &it, NULL);
    execl(self, self, "wait", (char *)NULL);
    _exit(3);
}

int main(int argc, char **argv)
{
    int status, handled = 0, killed = 0;

    if (argc > 1) {
        wait_for_it();
    }
    for (int i = 0; i < ROUNDS; i++) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            run_child("/proc/self/exe", 1 + i * STEP_US);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status)) {
            CHECK(WTERMSIG(status) == SIGALRM);
            killed++;
        } else {
            CHECK(WEXITSTATUS(status) == 1);
            handled++;
        }
    }
    CHECK(handled + killed == ROUNDS);
    printf("none lost\n");
    return 0;
}
