/* SPDX-License-Identifier: BSD-2-Clause
 * proc_exec.c -- a chain of exec of itself: descriptors, environment, signal mask and ignored
 * signals, limits come through; big argument lists; a script with itself as the interpreter.
 * guest: */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

int main(int argc, char **argv)
{
    if (argc == 2) { /* by the #! line: path of the script */
        printf("as interpreter of %s\n", argv[1]);
        return 7;
    }
    int step = argc > 2 ? atoi(argv[2]) : 0;
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    struct sigaction act;
    sigaction(SIGUSR2, NULL, &act);
    printf("step %d argc %d usr1 blocked %d usr2 ignored %d cloexec open %d kept open %d\n", step,
           argc, sigismember(&mask, SIGUSR1), act.sa_handler == SIG_IGN, fcntl(50, F_GETFD) >= 0,
           fcntl(51, F_GETFD) >= 0);
    fflush(stdout);
    char number[16];
    snprintf(number, sizeof number, "%d", step + 1);
    if (step == 0) {
        sigaddset(&mask, SIGUSR1);
        sigprocmask(SIG_SETMASK, &mask, NULL);
        signal(SIGUSR2, SIG_IGN);
        signal(SIGHUP, (void (*)(int))main);
        dup3(1, 50, O_CLOEXEC);
        dup2(1, 51);
    }
    if (step < 3) {
        char *args[] = {argv[0], "x", number, NULL};
        execv(step == 1 ? "/proc/self/exe" : argv[0], args);
    } else if (step == 3) {
        static char *args[2000];
        static char big[100000];
        memset(big, 'a', sizeof big - 1);
        args[0] = argv[0];
        args[1] = "x";
        args[2] = number;
        for (int i = 3; i < 1999; i++) {
            args[i] = "argument";
        }
        args[1000] = big;
        execv(argv[0], args);
    } else if (step == 4) {
        CHECK(strlen(argv[1000]) == 99999);
        FILE *f = fopen("self-script", "w");
        fprintf(f, "#! %s\n", argv[0]);
        fclose(f);
        chmod("self-script", 0700);
        execl("./self-script", "self-script", (char *)NULL);
    }
    printf("GUEST-FAILED exec: %s\n", strerror(errno));
    return 1;
}
